"""Two, four and six networks in one: barycenters beside transport to a pivot, MergeMany and the plain average.

Akash, Li and Trillos (2022), after Singh and Jaggi (2020): MLPs 784-200-100-50-10 with biases, trained apart on MNIST
until about 95%, fused without training, tested on all 10,000 test images. Three sets of six networks, each network from
its own seed, and two ways of training; some minutes on a laptop:

    python analyses/13_many_networks.py

Fewer networks of a set are its first ones. Which networks are fused, not which images are tested, is what varies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from common import Claim, Study, flat, mean_over_runs, network, unflat

import lmc
from lmc.evaluation import evaluate_state

MLP = "mlp?widths=784,200,100,50,10&bias=true&activation=relu&norm=none"
SETS, COUNTS = (0, 1, 2), (2, 4, 6)
RECIPES = {
    "adam": {"images": 20_000, "optimizer": "adam", "lr": 1e-3, "epochs": 2, "batch_size": 64, "schedule": "none"},
    "sgd": {
        "images": 60_000,
        "optimizer": "sgd",
        "momentum": 0.0,
        "lr": 0.05,
        "epochs": 1,
        "batch_size": 64,
        "schedule": "none",
    },
}
METHODS = {
    "vanilla": "vanilla",
    "ot": "ot?cost=sqeuclidean",
    "ot, activations": "ot?cost=sqeuclidean&on=activations&examples=1000",
    "wb, incoming": "wb?sides=incoming",
    "wb": "wb",
    "wb, activations": "wb?on=activations",
    "MergeMany": "align-then-average?align=weights?restarts=1&order=merge-many",
}
ENSEMBLE = "ensemble (logits)"
ROWS = ("parents", "ensemble", *METHODS)

study = Study(__file__, "Does a barycenter hold together what an average of two, four and six networks breaks?")
train, test = study.data(60_000, 10_000)


def run(seed: int, images: int, **settings: Any) -> dict[str, np.ndarray]:
    """Train a network."""
    module = network(MLP, train, seed).module
    return flat({"end": lmc.train(module, train.limited(images), seed=seed, **settings).state})


def fused(training: dict, group: int, count: int) -> Mapping[str, Any]:
    """Measure accuracy and loss of the networks of a set, and of what every method makes of them."""
    module = network(MLP, train, 0).module
    spec = lmc.find_symmetries(module, train.inputs[:2])
    seeds = range(6 * group, 6 * group + count)
    states = [unflat(study.part(run, seed=seed, **training), "end") for seed in seeds]
    table = lmc.fusion_table(module, states, test, method="vanilla", examples=False).dataset
    assert table is not None
    rows = {"parents": table.isel(model=slice(0, count)).mean("model"), "ensemble": table.sel(model=ENSEMBLE)}
    measured = {name: [float(one.accuracy), float(one.loss)] for name, one in rows.items()}
    for name, method in METHODS.items():
        given = {"data": train.limited(1000), "modules": module}
        found = evaluate_state(module, lmc.fuse(states, spec, method=method, **given).state, test)
        assert found.accuracy is not None
        measured[name] = [found.accuracy[0], found.loss[0]]
    return measured


found = [
    [[study.part(fused, training=training, group=group, count=count) for count in COUNTS] for group in SETS]
    for training in RECIPES.values()
]
measured = np.array([[[[one[row] for row in ROWS] for one in counts] for counts in sets] for sets in found])
stacked = {"accuracy": measured[..., 0], "loss": measured[..., 1]}  # recipe, set, count, method


def values(recipe: str, count: int, row: str) -> np.ndarray:
    """Return accuracies of the sets, in percent."""
    return 100 * stacked["accuracy"][list(RECIPES).index(recipe), :, COUNTS.index(count), ROWS.index(row)]


for recipe in RECIPES:
    for row in ROWS:
        cells = (f"{values(recipe, n, row).mean():5.1f} ({values(recipe, n, row).std(ddof=1):4.1f})" for n in COUNTS)
        print(f"  {recipe:<6}{row:<18}{'   '.join(cells)}")

TABLE = "784-200-100-50-10, parents about 94.8: 93.7 of two, 91.3 of four, 89.6 of six; vanilla 85.2, 41.5, 21.6"


def claim(name: str, found: np.ndarray, least: float, unit: str) -> Claim:
    """Claim that something is at least so much: with all of the interval, or with none of it."""
    value, interval = mean_over_runs(found)
    return Claim(
        f"{name} (at least {least:g})", value, interval, unit, TABLE, interval[0] >= least, interval[1] < least
    )


claims = []
for recipe in RECIPES:
    for count, least in zip(COUNTS, (93.0, 90.0, 88.0), strict=True):
        given = {row: values(recipe, count, row) for row in ROWS}
        told, points = f"{recipe}, {count} networks", "percentage points"
        claims += [
            claim(f"{told}: accuracy of wb", given["wb"], least, "%"),
            claim(f"{told}: wb minus vanilla", given["wb"] - given["vanilla"], 20.0, points),
            claim(f"{told}: wb minus transport to a pivot", given["wb"] - given["ot"], -0.3, points),
            claim(f"{told}: wb minus MergeMany", given["wb"] - given["MergeMany"], -1.0, points),
        ]
dims = ("recipe", "set", "count", "method")
study.write(
    {
        "recipe": ("recipe", list(RECIPES)),
        "set": ("set", list(SETS)),
        "count": ("count", list(COUNTS)),
        "method": ("method", list(ROWS)),
        "accuracy": (dims, stacked["accuracy"], "test accuracy", "1"),
        "loss": (dims, stacked["loss"], "test loss", "nats"),
    },
    claims,
    sets=SETS,
    training=RECIPES,
    methods=METHODS,
)
