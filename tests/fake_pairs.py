"""Fake results of many pairs: two families of checkpoints, within which alignment removes the barrier."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from lmc import schema

MODELS = ("runs/a-1.pt", "runs/b-1.pt", "runs/a-2.pt", "runs/b-2.pt", "runs/a-3.pt")


def family(name: str) -> str:
    return name.split("/")[-1][0]


def fake_sweep(models: Sequence[str] = MODELS, *, points: int = 9, accuracy: bool = True) -> xr.Dataset:
    """Make a valid sweep: 1.5 before alignment; after it about 0.02 within a family and 0.6 across."""
    pairs = list(itertools.combinations(models, 2))
    t = np.linspace(0, 1, points)
    after = [0.02 + 0.001 * i if family(a) == family(b) else 0.6 + 0.01 * i for i, (a, b) in enumerate(pairs)]
    height = np.stack([np.full(len(pairs), 1.5), np.array(after)], axis=-1)
    return sweep_of(height, t, {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}, accuracy)


def fake_widths(widths: Sequence[float] = (32, 64, 128, 256), *, each: int = 1, name: str = "width") -> xr.Dataset:
    """Make a valid sweep of pairs of equal width, with barriers of 30 / width after alignment."""
    values = np.repeat(np.array(widths), each)
    after = 30 / values * (1 + 0.1 * np.tile(np.arange(each), len(widths)))
    height = np.stack([np.full(values.size, 1.5), after], axis=-1)
    names = {"a": [f"a{i}.pt" for i in range(values.size)], "b": [f"b{i}.pt" for i in range(values.size)]}
    dataset = sweep_of(height, np.linspace(0, 1, 9), names, True).assign_coords({name: ("pair", values)})
    dataset[name].attrs = {"long_name": name, "units": "1"}
    return dataset


def sweep_of(height: np.ndarray, t: np.ndarray, names: dict[str, list[str]], accuracy: bool) -> xr.Dataset:
    path, scalar = ("pair", "alignment", "t"), ("pair", "alignment", "baseline")
    loss = 0.1 + 4 * height[..., None] * t * (1 - t)
    above = np.stack([height, height], axis=-1)
    variables = {
        "status": (("pair", "alignment"), np.full(height.shape, "done")),
        "loss": (path, loss),
        "loss_ci": ((*path, "bound"), np.stack([0.9 * loss, 1.2 * loss], axis=-1)),
        "loss_barrier": (scalar, above),
        "loss_barrier_ci": ((*scalar, "bound"), np.stack([0.9 * above, 1.2 * above], axis=-1)),
    }
    if accuracy:
        correct = np.exp(-loss / 3)
        variables |= {
            "accuracy": (path, correct),
            "accuracy_ci": ((*path, "bound"), np.stack([correct - 0.01, correct + 0.02], axis=-1)),
            "error_barrier": (scalar, above / 5),
            "error_barrier_ci": ((*scalar, "bound"), np.stack([0.18 * above, 0.24 * above], axis=-1)),
        }
    coords = {
        "pair": np.arange(len(height)),
        "a": ("pair", names["a"]),
        "b": ("pair", names["b"]),
        "alignment": ["none", "weights"],
        "t": t,
        "baseline": list(schema.BASELINES),
        "bound": list(schema.BOUNDS),
        "split": "test",
    }
    return schema.annotate(xr.Dataset(variables, coords), "sweep", {"seed": 0})


def fake_conjecture(models: Sequence[str] = MODELS) -> xr.Dataset:
    """Make a valid conjecture of the same pairs: connected within a family, and not tried beyond what connects."""
    sweep = fake_sweep(models)
    height = sweep["error_barrier"].sel(baseline="chord", drop=True).values.copy()
    within = np.array([family(a) == family(b) for a, b in zip(sweep["a"].values, sweep["b"].values, strict=True)])
    pairs, tried = within.size, ("pair", "alignment")
    verdict = np.where(within, "connected", "not connected by anything tried").astype("<U40")
    verdict[-1] = "undecided"
    ones = np.ones((pairs, 2))
    variables = {
        "model_status": ("model", ["used"] * len(models) + ["a copy of the first"]),
        "model_loss": ("model", np.full(len(models) + 1, 0.1)),
        "verdict": ("pair", verdict),
        "method": ("pair", np.full(pairs, "weights")),
        "p": ("pair", np.full(pairs, 0.01)),
        "why": ("pair", np.full(pairs, "because")),
        "tried": (tried, ones.astype(bool)),
        "barrier": (tried, height),
        "barrier_ci": ((*tried, "bound"), np.stack([0.9 * height, 1.2 * height], axis=-1)),
        "p_below": (tried, 0.01 * ones),
        "p_above": (tried, 0.99 * ones),
        "loss": ((*tried, "t"), sweep["loss"].values),
        "seconds": (tried, ones),
        "examples": (tried, np.full((pairs, 2), 500)),
        "cosine": ("pair", np.zeros(pairs)),
        "aligned_cosine": ("pair", np.zeros(pairs)),
        "control_passed": ("control", [True]),
        "control_barrier": ("control", [0.0]),
        "control_ci": (("control", "bound"), [[0.0, 0.01]]),
        "control_message": ("control", ["found"]),
        "fraction_connected": ((), float(within.mean())),
    }
    coords = {
        "pair": np.arange(pairs),
        "a": ("pair", sweep["a"].values),
        "b": ("pair", sweep["b"].values),
        "alignment": ["none", "weights"],
        "t": sweep["t"].values,
        "bound": list(schema.BOUNDS),
        "split": "test",
        "model": [*models, "copy.pt"],
        "control": ["planted"],
    }
    attrs = {"tolerance": 0.02, "metric": "error", "summary": "5 models, 10 pairs: 4 of 10 connected."}
    return schema.annotate(xr.Dataset(variables, coords), "conjecture", attrs)
