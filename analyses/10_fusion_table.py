"""Every method of fusion in one table: on a public pair of MNIST networks, and on small networks trained here.

Writes data/10_fusion_pair.nc, data/10_fusion_table.nc and the tables of docs/fusion.md; some minutes on a laptop:

    python analyses/10_fusion_table.py

The public pair is two MNIST classifiers that the authors of OTFusion trained; it is skipped, and its table left as it
is, where LMC_SHARED_DATA names no folder that has them. What is trained here are four kinds of networks on the digits
that scikit-learn ships, each three times with other seeds: MLPs from independent initialisations, MLPs fine-tuned from
one base, recurrent networks that read the digits row by row, and vision transformers of one block.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from common import into_page

import lmc
from lmc import schema

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("LMC_SHARED_DATA", ROOT.parent / "shared" / "data"))
PAIR = SHARED / "checkpoints" / "otfusion-mnist-mlp"
RUNS = 3

WEIGHTS = ["wb", "wb?sides=incoming", "wb?starts=3", "ot", "ot?cost=sqeuclidean", "align-then-average"]
EXAMPLES = [
    "wb?on=activations",
    "ot?on=activations",
    "align-then-average?align=activations",
    "align-then-average?by=fisher",
    "align-then-average?by=regmean",
]
AVERAGES = ["soup", "fisher", "regmean"]
VECTORS = ["task-arithmetic?scaling=0.5", "task-arithmetic", "ties"]
TRANSFORMERS = [
    "wb",
    "wb?on=activations",
    "ot",
    "align-then-average",
    "transformer",
    "transformer?solver=emd",
    "transformer?on=activations",
    "transformer?on=activations&residual=features",
    "transformer?on=activations&queries=separate&heads=across",
]
RECURRENT = ["gwb", "gwb?on=activations", "align-then-average", "align-then-average?align=activations"]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--output", type=Path, default=ROOT / "data", help="folder of the results")
parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "fusion.md", help="page whose tables are written")
parser.add_argument("--only", choices=["pair", "trained"], help="make one of the two tables")
given = parser.parse_args()
torch.set_num_threads(1)  # the same numbers on every machine


def trained(reference: str, data: lmc.datasets.AbstractData, seed: int, epochs: int, start: dict | None = None) -> dict:
    """Return the weights of a network trained from its initialisation, or from others."""
    module = network(reference, data, seed)
    if start is not None:
        module.load_state_dict(start)
    return lmc.train(module, data, epochs=epochs, lr=3e-3 if start is None else 1e-3, seed=seed).state


def network(reference: str, data: lmc.datasets.AbstractData, seed: int = 0) -> torch.nn.Module:
    """Return a network of the data's sizes."""
    return lmc.resolve(reference, input_shape=data.input_shape, num_classes=data.num_classes, seed=seed).module


def table(kind: str, seed: int) -> xr.Dataset:
    """Train the networks of a kind, and fuse them in every way that applies."""
    train, test = lmc.open_data("digits", "train"), lmc.open_data("digits", "test")
    settings = {"train_data": train, "examples": False, "seed": seed, "names": ["A", "B"]}
    if kind == "one base":
        reference, methods = "mlp?width=64&depth=2", [*AVERAGES, *VECTORS, "wb", "align-then-average"]
        base = trained(reference, train, seed, 3)
        states = [trained(reference, train, 100 * seed + k, 10, base) for k in (1, 2)]
        settings["base"] = base
    elif kind == "recurrent":
        reference, methods = "rnn?hidden=48", RECURRENT
        states = [trained(reference, train, 100 * seed + k, 30) for k in (1, 2)]
    elif kind == "transformers":
        reference, methods = "vit?depth=1&dim=32&hidden=64", TRANSFORMERS
        states = [trained(reference, train, 100 * seed + k, 30) for k in (1, 2)]
    else:
        reference, methods = "mlp?width=64&depth=2", [*WEIGHTS, *EXAMPLES, *AVERAGES]
        states = [trained(reference, train, 100 * seed + k, 20) for k in (1, 2)]
        settings["finetune"] = 2
    found = lmc.fusion_table(network(reference, train), states, test, method=methods, **settings).dataset
    assert found is not None
    return found.assign_coords(model=[f"{kind}: {name}" for name in found.model.values])


# 1. Networks trained here, three times over: runs are stacked, kinds follow each other.
if given.only != "pair":
    kinds = ("independent", "one base", "recurrent", "transformers")
    runs = []
    for seed in range(RUNS):
        parts = [table(kind, seed) for kind in kinds]
        runs.append(xr.concat(parts, "model", data_vars="minimal", combine_attrs="override", join="override"))
        print(f"run {seed + 1} of {RUNS}", flush=True)
    stacked = xr.concat(runs, "run", data_vars="all", combine_attrs="override", coords="minimal", compat="override")
    about = {
        "study": "every method of fusion that applies, on networks trained on scikit-learn's digits",
        "command": "python analyses/10_fusion_table.py",
        "seeds": list(range(RUNS)),
        "data": "digits",
        "versions": {"lmc": lmc.__version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    stacked = schema.annotate(stacked, "fusion", about)
    print("wrote", schema.write(stacked, given.output / "10_fusion_table.nc"))

# 2. The public pair.
if given.only != "trained" and PAIR.is_dir():
    train, test = lmc.open_data("mnist", "train", SHARED), lmc.open_data("mnist", "test", SHARED)
    held = [lmc.load(PAIR / f"{k}.checkpoint") for k in (0, 1)]
    module = lmc.resolve(None, held[0], input_shape=test.input_shape, num_classes=test.num_classes).module
    found = lmc.fusion_table(
        module,
        held,
        test,
        method=[*WEIGHTS, *EXAMPLES, *AVERAGES],
        names=["A", "B"],
        train_data=train,
        examples=False,
        attrs={"command": "python analyses/10_fusion_table.py", "sha256": [one.digest for one in held]},
    ).dataset
    assert found is not None
    print("wrote", schema.write(found, given.output / "10_fusion_pair.nc"))
elif given.only != "trained":
    print(f"The public pair is skipped: there is no folder {PAIR} (LMC_SHARED_DATA names where it is).")


# 3. The tables of the page, from the files alone.
def rows_of(dataset: xr.Dataset) -> list[list[str]]:
    """Return a line for each network: name, role, accuracy with interval or range, loss."""
    lines = []
    for name in dataset.model.values:
        one = dataset.sel(model=name)
        right, loss = 100 * np.atleast_1d(one.accuracy.values), np.atleast_1d(one.loss.values)
        low, high = (right.min(), right.max()) if "run" in dataset.dims else 100 * one.accuracy_ci.values
        role = str(np.atleast_1d(one.role.values)[0])
        lines.append([f"`{name}`", role, f"{right.mean():.2f} [{low:.2f}, {high:.2f}]", f"{loss.mean():.3f}"])
    return lines


HEADER = ["network", "", "accuracy, %", "loss"]
if given.docs.exists():
    for name, marker in (("10_fusion_pair.nc", "public pair"), ("10_fusion_table.nc", "trained here")):
        if (given.output / name).exists():
            into_page(marker, [HEADER, *rows_of(schema.read(given.output / name, "fusion"))], given.docs)
