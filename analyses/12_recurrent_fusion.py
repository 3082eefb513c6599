"""Fusion of recurrent networks that read images row by row: what a coupling has to see to bring two runs together.

Akash, Li and Trillos (2022): hidden-to-hidden weights see one coupling on both sides, which comparing incoming weights
leaves out. Three RNNs and three LSTMs of 128 units, 10,000 images of MNIST, all 10,000 test images; about five
minutes on a laptop:

    python analyses/12_recurrent_fusion.py

Every row is the midpoint between A and B with its units moved: by nothing, incoming weights alone, weight matching,
activation matching, and Gromov-Wasserstein barycenters of weights and of hidden states.
"""

from __future__ import annotations

import numpy as np
from common import Claim, Study, flat, mean_over_pairs, network, pairs_of, unflat

import lmc

SEEDS = (0, 1, 2)
PAIRS = pairs_of(SEEDS)
TRAINING = {
    "rnn": {"lr": 0.02, "optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "epochs": 5},
    "lstm": {"lr": 3e-3, "optimizer": "adam", "batch_size": 64, "epochs": 4},
}
ALIGNED = {"weight matching": "weights?restarts=8&scale=plain", "activation matching": "activations?examples=2000"}
FUSED = {
    "incoming weights alone": "gwb?alpha=0&reach=incoming&starts=1",
    "gwb, weights": "gwb",
    "gwb, hidden states": "gwb?on=activations&examples=2000",
}
ROWS = ("none", "incoming weights alone", *ALIGNED, "gwb, weights", "gwb, hidden states")

study = Study(__file__, "Does a coupling on both sides of hidden-to-hidden weights bring recurrent networks together?")
train, test = study.data(10_000, 10_000)
examples = train.limited(2000)


def run(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    net = network(f"{kind}?hidden=128", train, seed)
    return flat({"end": lmc.train(net.module, train, seed=seed, **TRAINING[kind]).state})


def moved(kind: str, a: int, b: int, row: str) -> dict[str, np.ndarray]:
    """Measure one row of one pair at the ends and at the midpoint."""
    net = network(f"{kind}?hidden=128", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    ends = [unflat(study.part(run, kind=kind, seed=seed), "end") for seed in (a, b)]
    given = {"data": examples, "seed": 0}
    permutation = {}
    if row in ALIGNED:
        permutation = lmc.align(*ends, spec, method=ALIGNED[row], data=examples, module=net.module).permutation
    elif row in FUSED:
        result = lmc.fuse(ends, spec, method=FUSED[row], modules=net.module, **given)
        permutation = result.permutation(1)
        whole = result.couplings[1]
        assert all(coupling.hardness > 1 - 1e-9 for coupling in whole.values()), "the midpoint is not the fused network"
    path = lmc.LinearPath(ends[0], spec.apply(ends[1], permutation))
    measured = lmc.measure_barrier(net.module, path, test, t=(0.0, 0.5, 1.0), resamples=200)
    names = ("loss", "accuracy", "loss_ci", "accuracy_ci")
    return {name: measured[name].isel(alignment=0).values for name in names}


found = {
    kind: [[study.part(moved, kind=kind, a=a, b=b, row=row) for row in ROWS] for a, b in PAIRS] for kind in TRAINING
}
stacked = {
    name: np.array([[[one[name] for one in rows] for rows in pairs] for pairs in found.values()])
    for name in ("loss", "accuracy", "loss_ci", "accuracy_ci")
}  # network, pair, alignment, t
middle = {
    kind: dict(zip(ROWS, 100 * stacked["accuracy"][place, :, :, 1].T, strict=True))
    for place, kind in enumerate(TRAINING)
}  # network, row: a value for each pair

for place, kind in enumerate(TRAINING):
    ends = 100 * stacked["accuracy"][place, :, 0][:, [0, 2]]
    print(f"{kind}: parents {', '.join(f'{a:.1f}/{b:.1f}' for a, b in ends)}")
    for row in ROWS:
        values = middle[kind][row]
        print(f"  {row:<24}{values.mean():6.1f}   {' '.join(f'{value:.1f}' for value in values)}")


def difference(kind: str, one: str, other: str, literature: str, *, least: float) -> Claim:
    """Claim that one row is above another by so many points: with all of the interval, or with none of it."""
    value, interval = mean_over_pairs(middle[kind][one] - middle[kind][other], PAIRS)
    name = f"{kind}: midpoint accuracy, {one} minus {other} (at least {least:g})"
    return Claim(name, value, interval, "percentage points", literature, interval[0] >= least, interval[1] < least)


TABLE = {
    "rnn": "13 as they are, 20 by input weights, 50 by weights with hidden-to-hidden, 66 to 69 by hidden states",
    "lstm": "54 as they are, 73 by input weights, 89 by weights with hidden-to-hidden, 91 by hidden states",
}
claims = []
for kind, least in (("rnn", 15.0), ("lstm", 8.0)):
    claims += [
        difference(kind, "gwb, weights", "incoming weights alone", TABLE[kind], least=least),
        difference(kind, "gwb, weights", "weight matching", TABLE[kind], least=-3.0),
        difference(kind, "gwb, hidden states", "activation matching", TABLE[kind], least=-5.0),
        difference(kind, "incoming weights alone", "none", TABLE[kind], least=0.0),
        difference(kind, "activation matching", "weight matching", TABLE[kind], least=0.0),
    ]
dims = ("network", "pair", "alignment", "t")
study.write(
    {
        "network": ("network", list(TRAINING)),
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "alignment": ("alignment", list(ROWS)),
        "t": ("t", [0.0, 0.5, 1.0]),
        "loss": (dims, stacked["loss"], "test loss", "nats"),
        "accuracy": (dims, stacked["accuracy"], "test accuracy", "1"),
        "loss_ci": ((*dims, "bound"), stacked["loss_ci"], "95% interval of the loss over examples", "nats"),
        "accuracy_ci": ((*dims, "bound"), stacked["accuracy_ci"], "95% interval of the accuracy over examples", "1"),
    },
    claims,
    seeds=SEEDS,
    training=TRAINING,
    methods={**ALIGNED, **FUSED},
)
