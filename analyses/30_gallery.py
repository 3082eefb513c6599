"""Small results that the gallery draws beside those of the studies, from digits and the demo's checkpoints.

Writes data/30_*.nc: methods beside each other, a plane, REPAIR, a fusion, recurrent pairs, a set of runs and its
verdicts. Two minutes on a laptop:

    python analyses/30_gallery.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import xarray as xr

import lmc
from lmc import schema

DATA = Path(__file__).parents[1] / "data"
RUNS = (1, 2, 3, 4, 5, 6)
SMALL = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "epochs": 15}
FEW = {"resamples": 200}

torch.set_num_threads(1)  # the same numbers on every machine
train, test = lmc.open_data("digits", split="train"), lmc.open_data("digits", split="test")


def demo(name: str) -> tuple[Any, list[Any]]:
    """Return a network of the demo and its two checkpoints."""
    files = [lmc.load(DATA / "checkpoints" / f"{name}-{seed}.safetensors") for seed in (1, 2)]
    return lmc.resolve(None, files[0]).module, [one.state for one in files]


def trained(reference: str, seed: int, lr: float) -> tuple[Any, Any]:
    """Return a network and its weights after training on the digits."""
    module = lmc.resolve(reference, input_shape=train.input_shape, num_classes=train.num_classes, seed=seed).module
    return module, lmc.train(module, train, seed=seed, lr=lr, **SMALL).state


def write(dataset: xr.Dataset, name: str) -> None:
    """Write a result, and say how large it is."""
    path = schema.write(dataset, DATA / f"30_{name}.nc")
    print(f"wrote {path.name}, {path.stat().st_size / 1000:.0f} kB", flush=True)


mlp, (a, b) = demo("mlp")
methods = ("none", "weights", "activations", "ot?on=activations")
write(lmc.barrier(mlp, a, b, test, align=methods, align_data=train, points=17, **FEW), "methods")
write(lmc.basin(mlp, [a, b], test, resolution=25, **FEW), "plane")

files = [str(DATA / "checkpoints" / f"mlp-{seed}.safetensors") for seed in (1, 2)]
table = ["--data", "digits", "--method", "wb", "--finetune", "1", "--result", str(DATA / "30_fusion.nc")]
fused = str(DATA.parent / "out" / "fused.safetensors")
subprocess.run(
    [sys.executable, "-m", "lmc", "fuse", *files, *table, "-o", fused], check=True, stdout=subprocess.DEVNULL
)

cnn, (a, b) = demo("cnn-bn")
for name, settings in {"plain": {}, "repaired": {"repair": train}}.items():
    write(lmc.barrier(cnn, a, b, test, points=11, **settings, **FEW), f"cnn_{name}")

for kind in ("rnn", "lstm"):
    (module, a), (_, b) = (trained(f"{kind}?hidden=32", seed, 0.1) for seed in (1, 2))
    ways = ("none", "weights", "activations")
    write(lmc.barrier(module, a, b, test, align=ways, align_data=train, points=13, **FEW), kind)

runs = {f"run {seed}": trained("mlp?width=32&depth=2", seed, 0.1) for seed in RUNS}
states = {name: state for name, (_, state) in runs.items()}
network = runs["run 1"][0]
write(lmc.conjecture(network, states, test, tolerance=0.05, align_data=train), "verdicts")
