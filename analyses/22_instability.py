"""From which step on children of one parent are linearly connected: MLPs, and a CNN with BatchNorm.

Frankle and others (2020): siblings share a parent's first steps and then see the examples in orders of their own; a
network is stable from the step on at which their error barrier is under 2%. Five parents each, about eight minutes on a
laptop; `lmc instability run.toml` does the same for a recipe:

    python analyses/22_instability.py
"""

from __future__ import annotations

import numpy as np
from common import Claim, Study, mean_over_runs

from lmc.conjectures import instability

SEEDS = (0, 1, 2, 3, 4)
STEPS = (0, 10, 30, 100, 250)
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAINING = {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "epochs": 5}
NETWORKS = {
    "mlp": ("mlp?width=128&depth=2", "mnist"),
    "mlp-fashion": ("mlp?width=128&depth=2", "fashion-mnist"),
    "cnn-bn": ("cnn-bn?channels=8,16&kernel=3", "fashion-mnist"),
}

study = Study(__file__, "From which training step on do children of one parent end up linearly connected?")
data = {name: study.data(4000, 2000, name) for name in ("mnist", "fashion-mnist")}


def siblings(name: str, seed: int) -> dict[str, np.ndarray]:
    """Measure a pair of siblings at every branch step: barriers (step), and accuracy of the ends."""
    reference, dataset = NETWORKS[name]
    found = instability(
        reference,
        *data[dataset],
        branch_steps=STEPS,
        training=TRAINING,
        seeds=(seed,),
        align=("none",),
        recalibrate="norm" in reference or "bn" in reference,
        t=POSITIONS,
        resamples=20,
    )
    return {
        "error": found.error_barrier.sel(baseline="mean").isel(alignment=0).values,
        "loss": found.loss_barrier.sel(baseline="mean").isel(alignment=0).values,
        "accuracy": found.accuracy.isel(alignment=0).sel(t=[0, 1]).mean("t").values,
    }


found = {name: [study.part(siblings, name=name, seed=seed) for seed in SEEDS] for name in NETWORKS}
error = np.stack([[one["error"] for one in found[name]] for name in NETWORKS])  # network, seed, step
loss = np.stack([[one["loss"] for one in found[name]] for name in NETWORKS])
accuracy = np.stack([[one["accuracy"] for one in found[name]] for name in NETWORKS])
claims = []
for place, name in enumerate(NETWORKS):
    means = error[place].mean(0)
    stable = [step for i, step in enumerate(STEPS) if (means[i:] < 0.02).all()]
    first = f"stable from step {stable[0]}" if stable else "unstable at all of these steps"
    value, interval = mean_over_runs(error[place, :, 0])
    expected = name == "mlp"
    claims.append(
        Claim(
            f"{name}: error barrier of siblings that share the initialisation only ({first})",
            value,
            interval,
            "1",
            "LeNet on MNIST is stable at step 0: under 0.02" if expected else "larger networks are not: over 0.02",
            interval[1] < 0.02 if expected else interval[0] > 0.02,
            interval[0] > 0.02 if expected else interval[1] < 0.02,
        )
    )
    value, interval = mean_over_runs(error[place, :, 0] - error[place, :, -1])
    claims.append(
        Claim(
            f"{name}: error barrier at step 0 above that at step {STEPS[-1]} of {5 * 63}",
            value,
            interval,
            "1",
            "falls with the steps that are shared (Frankle)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
    value, interval = mean_over_runs(error[place, :, -1])
    claims.append(
        Claim(
            f"{name}: error barrier of siblings that share {STEPS[-1]} steps",
            value,
            interval,
            "1",
            "under 0.02 from some step on (Frankle)",
            interval[1] < 0.02,
            interval[0] > 0.02,
        )
    )
dims = ("network", "pair", "step", "alignment")
study.write(
    {
        "network": ("network", list(NETWORKS)),
        "pair": ("pair", [f"children of {seed}" for seed in SEEDS]),
        "alignment": ("alignment", ["none"]),
        "step": ("step", STEPS),
        "error_barrier": (dims, error[..., None], "test error barrier above the mean end", "1"),
        "loss_barrier": (dims, loss[..., None], "test loss barrier above the mean end", "nats"),
        "accuracy": (dims[:3], accuracy, "mean test accuracy of the siblings", "1"),
    },
    claims,
    training=TRAINING,
    networks=NETWORKS,
    positions=POSITIONS,
)
