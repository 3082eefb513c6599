"""Fusion of small vision transformers: barycenters, matching and transformer fusion, beside the vanilla average.

Imfeld and others (2024) let soft maps flow through a transformer and meet where its residual stream is added to; to a
permutation all of that stream is one group. Three vision transformers of one block (64 wide, 4 heads, patches of 7),
10,000 images of MNIST, its first 4,000 test images; some minutes on two cores:

    python analyses/14_vit_fusion.py

A row is the accuracy of the network that a method makes of two, in equal shares, by weights or on the first 1,000
training images (200 for ot and transformer). Soft maps, policies for the residual stream, queries and keys apart and
heads opened are options of ``transformer``.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from common import Claim, Study, flat, into_page, mean_over_pairs, network, pairs_of, unflat

import lmc
from lmc.evaluation import evaluate_state
from lmc.symmetry import PermutationSpec

SEEDS = (0, 1, 2)
PAIRS = pairs_of(SEEDS)
NETWORKS = {"one block": "vit?patch=7&depth=1", "two blocks": "vit?patch=7&depth=2"}
KINDS = ("one block",)  # two blocks take more than twice as long: name them here
TRAINING = {"lr": 3e-3, "optimizer": "adam", "batch_size": 64, "epochs": 6}
SOFT = "transformer?on=activations"
METHODS = {
    "vanilla": "vanilla",
    "wb, weights": "wb",
    "wb, activations": "wb?on=activations",
    "ot, weights": "ot",
    "ot, activations": "ot?on=activations",
    "weight matching": "align-then-average",
    "activation matching": "align-then-average?align=activations",
    "transformer, weights": "transformer",
    "transformer, weights, hard": "transformer?solver=emd",
    "transformer, activations": SOFT,
    "transformer, activations, hard": f"{SOFT}&solver=emd",
    "residual: block only": f"{SOFT}&residual=none",
    "residual: skip only": f"{SOFT}&residual=skip",
    "residual: scalar weight": f"{SOFT}&residual=scalar",
    "residual: feature weights": f"{SOFT}&residual=features",
    "queries and keys apart": f"{SOFT}&queries=separate",
    "heads opened": f"{SOFT}&heads=across",
}

study = Study(__file__, "Which fusion brings independently trained vision transformers together without training?")
train, test = study.data(10_000, 4000)
examples = train.limited(1000)


def run(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    net = network(NETWORKS[kind], train, seed)
    return flat({"end": lmc.train(net.module, train, seed=seed, **TRAINING).state})


@functools.cache
def known(kind: str) -> tuple[torch.nn.Module, PermutationSpec]:
    """Return a network and its symmetries."""
    module = network(NETWORKS[kind], train, 0).module
    return module, lmc.find_symmetries(module, train.inputs[:2])


def measured(kind: str, state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return test loss and accuracy of a network."""
    found = evaluate_state(network(NETWORKS[kind], train, 0).module, state, test)
    assert found.example_correct is not None
    return {"loss": found.example_loss.mean(), "accuracy": found.example_correct.mean()}


def end(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Measure a trained network."""
    return measured(kind, unflat(study.part(run, kind=kind, seed=seed), "end"))


def fused(kind: str, a: int, b: int, row: str) -> dict[str, np.ndarray]:
    """Fuse a pair and measure what comes out."""
    module, spec = known(kind)
    ends = [unflat(study.part(run, kind=kind, seed=seed), "end") for seed in (a, b)]
    result = lmc.fuse(ends, spec, method=METHODS[row], data=examples, modules=module, seed=0)
    return measured(kind, result.state)


parents = {
    name: [[study.part(end, kind=k, seed=s)[name] for s in SEEDS] for k in KINDS] for name in ("loss", "accuracy")
}
made = {
    kind: [[study.part(fused, kind=kind, a=a, b=b, row=row) for row in METHODS] for a, b in PAIRS] for kind in KINDS
}
stacked = {
    name: np.array([[[one[name] for one in rows] for rows in pairs] for pairs in made.values()], dtype=float)
    for name in ("loss", "accuracy")
}  # network, pair, method
found = {kind: dict(zip(METHODS, 100 * stacked["accuracy"][place].T, strict=True)) for place, kind in enumerate(KINDS)}

for place, kind in enumerate(KINDS):
    print(f"{kind}: parents {', '.join(f'{100 * float(x):.1f}' for x in parents['accuracy'][place])}")
    for row, values in found[kind].items():
        print(f"  {row:<32}{values.mean():6.1f}   {' '.join(f'{value:.1f}' for value in values)}")


def difference(kind: str, one: str, other: str, literature: str, *, least: float) -> Claim:
    """Claim that one row is above another by so many points: with all of the interval, or with none of it."""
    value, interval = mean_over_pairs(found[kind][one] - found[kind][other], PAIRS)
    name = f"{kind}: accuracy, {one} minus {other} (at least {least:g})"
    return Claim(name, value, interval, "percentage points", literature, interval[0] >= least, interval[1] < least)


ABOVE = "fusion of networks with attention and normalisation in place beats the vanilla average by 20 points below 60"
IMFELD = "Imfeld 2024, CIFAR-10 ViTs: vanilla far below, soft maps above hard ones, activations above weights"
claims = []
for kind in KINDS:
    claims += [difference(kind, row, "vanilla", ABOVE, least=20.0) for row in ("wb, weights", "wb, activations")]
    claims += [
        difference(kind, "transformer, activations", "vanilla", IMFELD, least=0.0),
        difference(kind, "transformer, activations", "transformer, activations, hard", IMFELD, least=0.0),
        difference(kind, "transformer, activations", "transformer, weights", IMFELD, least=0.0),
        difference(kind, "transformer, activations", "heads opened", "heads matched one to one, ours", least=0.0),
    ]
dims = ("network", "pair", "method")
study.write(
    {
        "network": ("network", list(KINDS)),
        "seed": ("seed", list(SEEDS)),
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "method": ("method", list(METHODS)),
        "loss": (dims, stacked["loss"], "test loss", "nats"),
        "accuracy": (dims, stacked["accuracy"], "test accuracy", "1"),
        "parent_loss": (("network", "seed"), np.array(parents["loss"], dtype=float), "test loss of a parent", "nats"),
        "parent_accuracy": (("network", "seed"), np.array(parents["accuracy"], dtype=float), "its test accuracy", "1"),
    },
    claims,
    seeds=SEEDS,
    networks={kind: NETWORKS[kind] for kind in KINDS},
    training=TRAINING,
    methods=METHODS,
)
lines = [["", "fused by", "accuracy, %, of each pair", "mean"]]
for kind in KINDS:
    for row, right in found[kind].items():
        told = ", ".join(f"{value:.1f}" for value in right)
        lines.append([kind if row == next(iter(found[kind])) else "", row, told, f"{right.mean():.1f}"])
into_page("vision transformers", lines)
