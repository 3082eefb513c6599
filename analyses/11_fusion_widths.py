"""Fusion of two, four and six networks, and across widths: barycenters beside transport and the plain average.

Networks 784-200-100-50-10 with biases, trained apart on MNIST as Singh and Jaggi train theirs (SGD with a small step),
two epochs, tested on all 10,000 test images; then narrow and wide ones into a third width, and one network into twice
its widths. Then networks with BatchNorm and with attention, whose statistics are measured anew. Writes
data/11_fusion_widths.csv; about ten minutes on a laptop:

    python analyses/11_fusion_widths.py

Akash, Li and Trillos (2022) and Singh and Jaggi (2020) are what the rows follow.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch

import lmc
from lmc.evaluation import evaluate_state

ROOT = Path(__file__).parents[1]
ACTIVATIONS = 1000
TRAINING = {
    "epochs": 2,
    "lr": 0.01,
    "optimizer": "sgd",
    "momentum": 0.5,
    "batch_size": 64,
    "schedule": "none",
}
METHODS = (
    "vanilla",
    "ot?cost=sqeuclidean",
    "wb",
    "wb?sides=both",
    f"ot?on=activations&cost=sqeuclidean&examples={ACTIVATIONS}",
    f"wb?on=activations&examples={ACTIVATIONS}",
)
MLP, NARROW, WIDE, BETWEEN = "200,100,50", "100,50,25", "400,200,100", "300,150,75"

train, test = (lmc.open_data("mnist", split) for split in ("train", "test"))
few = train.limited(2000)
path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data" / "11_fusion_widths.csv"
rows: list[dict[str, object]] = []


def architecture(reference: str) -> tuple[torch.nn.Module, lmc.PermutationSpec]:
    """Return a network with random weights and its symmetries."""
    module = lmc.resolve(reference, seed=0).module
    return module, lmc.find_symmetries(module, train.inputs[:2])


def mlp(widths: str) -> str:
    """Write the reference of an MLP with biases."""
    return f"mlp?widths=784,{widths},10&bias=true&activation=relu&norm=none"


def trained(reference: str, seed: int, data: object = train, **settings: object) -> dict[str, torch.Tensor]:
    """Train a network from its own seed."""
    module = lmc.resolve(reference, seed=seed).module
    return lmc.train(module, data, seed=seed, **{**TRAINING, **settings}).state


def note(setting: str, method: str, module: torch.nn.Module, state: dict, objective: float | str = "") -> None:
    """Add a row, and show it."""
    found = evaluate_state(module, state, test)
    row = {"setting": setting, "method": method, "accuracy": f"{100 * found.accuracy[0]:.2f}"}
    rows.append({**row, "loss": f"{found.loss[0]:.4f}", "objective": objective})
    print(*rows[-1].values(), flush=True)


def write() -> None:
    """Write what there is, whole or not at all."""
    with path.with_suffix(".part").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".part").replace(path)


def compare(setting: str, states: list, modules: list, specs: list, target: tuple | None = None) -> None:
    """Fuse by every method that takes these widths, and add a row for each."""
    module, spec = target or (modules[0], specs[0])
    one_width = all(one.shapes == spec.shapes for one in specs)
    for method in METHODS:
        if method == "vanilla" and not one_width:
            continue
        given = {"data": few, "modules": modules, "module": module}
        found = lmc.fuse(states, specs, target=spec, method=method, **given)
        note(setting, found.method, module, found.state, f"{found.objective:.6g}")


# 1. Two, four and six networks of one width.
module, spec = architecture(mlp(MLP))
states = [trained(mlp(MLP), seed) for seed in range(6)]
for number, state in enumerate(states, start=1):
    note("parents", f"network {number}", module, state)
for count in (2, 4, 6):
    compare(f"{count} networks", states[:count], [module] * count, [spec] * count)
write()

# 2. A narrow and a wide network into widths between; one network into twice its widths.
ends = [architecture(mlp(NARROW)), architecture(mlp(WIDE))]
pair = [trained(mlp(NARROW), 10), trained(mlp(WIDE), 11)]
for name, (net, _), state in zip(("narrow", "wide"), ends, pair, strict=True):
    note("two widths", name, net, state)
middle = architecture(mlp(BETWEEN))
compare("two widths", pair, [net for net, _ in ends], [one for _, one in ends], middle)
doubled = architecture(mlp(WIDE))
for method in ("wb", "wb?normalize=mean-field"):
    found = lmc.fuse([states[0]], spec, target=doubled[1], method=method)
    note("network 1, doubled", found.method, doubled[0], found.state, f"{found.objective:.6g}")
write()

# 3. BatchNorm and attention.
ADAM = {"lr": 3e-3, "optimizer": "adam", "schedule": "cosine"}
OTHERS = {
    "cnn-bn": ("cnn-bn?channels=16,32&kernel=3&in_channels=1&size=28&classes=10", {"epochs": 3}),
    "vit": ("vit?patch=7&dim=32&depth=2&heads=4&hidden=64&in_channels=1&size=28&classes=10", {"epochs": 8}),
}
for name, (reference, settings) in OTHERS.items():
    net, one = architecture(reference)
    pair = [trained(reference, seed, few, **settings, **ADAM) for seed in (0, 1)]
    for number, state in enumerate(pair, start=1):
        note(name, f"network {number}", net, state)
    compare(name, pair, [net, net], [one, one])
    write()
