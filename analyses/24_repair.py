"""Resetting BatchNorm and REPAIR against depth: what statistics cost a matched midpoint, and what repair gives back.

Jordan and others (2023): the variance of activations collapses between two networks, more so the deeper. Four MLPs of
width 128 at every depth, with BatchNorm and without, 8,000 images of MNIST; about three minutes on a laptop:

    python analyses/24_repair.py

With BatchNorm its statistics are reset; without, REPAIR sets those of every unit.
"""

from __future__ import annotations

import numpy as np
from common import Claim, Study, flat, mean_over_pairs, network, pairs_of, unflat

import lmc
from lmc.barriers import node_interval

SEEDS = (0, 1, 2, 3)
PAIRS = pairs_of(SEEDS)
DEPTHS = (1, 2, 4, 6, 8)
NORMS = ("batch", "none")
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAINING = {"lr": 0.05, "optimizer": "sgd", "momentum": 0.9, "batch_size": 128, "epochs": 6}
SOLVED = 0.8  # least accuracy of all ends: depths with a network below it are left out
ROWS = {"none": "none", "weights": "weights?restarts=4&scale=plain"}

study = Study(__file__, "How much of the barrier is due to the statistics of activations, and does it grow with depth?")
train, test = study.data(8000, 2000)
statistics = train.limited(1000)


def run(norm: str, depth: int, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    net = network(f"mlp?width=128&depth={depth}&norm={norm}", train, seed)
    return flat({"end": lmc.train(net.module, train, seed=seed, **TRAINING).state})


def barriers(norm: str, depth: int) -> dict[str, np.ndarray]:
    """Measure all pairs, before and after the repair: (pair, row, stage); the spread of units (pair, row, stage)."""
    net = network(f"mlp?width=128&depth={depth}&norm={norm}", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    states = [unflat(study.part(run, norm=norm, depth=depth, seed=seed), "end") for seed in SEEDS]
    made: dict[str, list] = {"loss": [], "error": [], "spread": []}
    for a, b in PAIRS:
        paths = {
            row: lmc.LinearPath(states[a], lmc.align(states[a], states[b], spec, method=method).apply(states[b]))
            for row, method in ROWS.items()
        }
        options = {"t": POSITIONS, "resamples": 20}
        before = lmc.measure_barrier(net.module, paths, test, **options)
        repaired = lmc.measure_barrier(net.module, paths, test, repair=statistics, **options)
        after = repaired
        if norm == "batch":
            after = lmc.measure_barrier(net.module, paths, test, recalibrate=statistics, **options)
        for kind in ("loss", "error"):
            both = [found[f"{kind}_barrier"].sel(baseline="chord").values for found in (before, after)]
            made[kind].append(np.stack(both, -1))
        made["spread"].append(repaired.unit_std.isel(layer=-1).transpose("alignment", "stage").values)
    return {key: np.array(value) for key, value in made.items()}


def ends(norm: str, depth: int) -> dict[str, np.ndarray]:
    """Return the test accuracy of every network of one kind."""
    net = network(f"mlp?width=128&depth={depth}&norm={norm}", train, 0)
    states = [unflat(study.part(run, norm=norm, depth=depth, seed=seed), "end") for seed in SEEDS]
    paths = {str(seed): lmc.LinearPath(state, state) for seed, state in zip(SEEDS, states, strict=True)}
    found = lmc.measure_barrier(net.module, paths, test, t=[0, 0.5, 1], resamples=20)
    return {"accuracy": found.accuracy.sel(t=0).values}


found = {norm: [study.part(barriers, norm=norm, depth=depth) for depth in DEPTHS] for norm in NORMS}
stacked = {
    kind: np.stack([np.stack([one[kind] for one in found[norm]], 1) for norm in NORMS], 1)
    for kind in ("loss", "error", "spread")
}  # pair, norm, depth, alignment, stage
accuracy = np.array([[study.part(ends, norm=norm, depth=depth)["accuracy"] for depth in DEPTHS] for norm in NORMS])
solved = accuracy.min(-1) > SOLVED  # norm, depth
for values in stacked.values():
    values[:, ~solved] = np.nan  # between networks at chance level there is no barrier, and nothing to learn


def slope(sample: np.ndarray, weights: np.ndarray) -> float:
    """Return the slope of the weighted mean of (pair, depth) against depth."""
    centred = np.array(DEPTHS[: sample.shape[1]], dtype=float) - np.mean(DEPTHS[: sample.shape[1]])
    return float(centred @ (weights @ sample) / (centred @ centred))


even = np.full(len(PAIRS), 1 / len(PAIRS))
claims = []
for place, norm in enumerate(NORMS):
    how = "a reset of BatchNorm" if norm == "batch" else "REPAIR"
    last = int(solved[place].sum())  # the deepest ones are those that do not train
    assert solved[place, :last].all()
    error = stacked["error"][:, place, :last, 1]  # matched: pair, depth, stage
    value, interval = mean_over_pairs((error[..., 0] - error[..., 1]).mean(1), PAIRS)
    edges = error.mean(0)
    claims.append(
        Claim(
            f"matched, norm {norm}: error barrier that {how} takes away, mean over depths "
            f"(depth {DEPTHS[last - 1]}: {edges[-1, 0]:.3f} to {edges[-1, 1]:.3f})",
            value,
            interval,
            "1",
            "most of it at depth 20 (REPAIR: ResNet-20 13.2% to 96.0% accuracy)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
    after = slope(error[..., 1], even)
    growths = {
        f"before {how}": error[..., 0],
        f"that {how} takes away (left: {after:.3f})": error[..., 0] - error[..., 1],
    }
    for name, sample in growths.items():
        interval = node_interval(sample, PAIRS, statistic=slope)
        claims.append(
            Claim(
                f"matched, norm {norm}: slope of the error barrier against depth, {name}",
                slope(sample, even),
                interval,
                "per layer",
                "grows with depth before, hardly after (REPAIR)",
                interval[0] > 0,
                interval[1] < 0,
            )
        )
    spread = stacked["spread"][:, place, :last, 1, 0]
    interval = node_interval(spread, PAIRS, statistic=slope)
    claims.append(
        Claim(
            f"matched, norm {norm}: spread of the last layer's units at the midpoint, relative to the ends "
            f"({spread.mean(0)[0]:.2f} at depth {DEPTHS[0]}, {spread.mean(0)[-1]:.2f} at {DEPTHS[last - 1]}): slope",
            slope(spread, even),
            interval,
            "per layer",
            "variance collapses, more with depth (REPAIR)",
            interval[1] < 0,
            interval[0] > 0,
        )
    )
dims = ("pair", "norm", "depth", "alignment", "stage")
study.write(
    {
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "norm": ("norm", list(NORMS)),
        "depth": ("depth", DEPTHS),
        "alignment": ("alignment", list(ROWS)),
        "stage": ("stage", ["before", "after"]),
        "seed": ("seed", SEEDS),
        "accuracy": (("norm", "depth", "seed"), accuracy, "test accuracy of the ends", "1"),
        "loss_barrier": (dims, stacked["loss"], "test loss barrier against the chord", "nats"),
        "error_barrier": (dims, stacked["error"], "test error barrier against the chord", "1"),
        "spread": (dims, stacked["spread"], "spread of the last hidden layer's units, relative to the ends", "1"),
    },
    claims,
    seeds=SEEDS,
    training=TRAINING,
    positions=POSITIONS,
)
