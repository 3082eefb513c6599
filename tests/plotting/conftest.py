"""Fake results: barrier datasets of known shape, without torch and without training anything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from lmc import schema


def fake_barrier(
    heights: dict[str, float] | None = None,
    *,
    points: int = 25,
    accuracy: bool = True,
    examples: int = 40,
    ends: tuple[float, float] = (0.08, 0.12),
) -> xr.Dataset:
    """Make a valid barrier dataset whose curves are parabolas of the given heights above the chord."""
    heights = {"none": 1.2, "weights": 0.06} if heights is None else heights
    t = np.linspace(0.0, 1.0, points)
    height = np.array(list(heights.values()))
    chord = (1 - t) * ends[0] + t * ends[1]
    loss = chord + 4 * height[:, None] * t * (1 - t)
    noise = np.random.default_rng(0).exponential(size=(1, 1, examples))
    path, scalar = ("alignment", "t"), ("alignment", "baseline")
    above = np.stack([height, height + 0.01], axis=-1)
    variables = {
        "loss": (path, loss),
        "loss_ci": ((*path, "bound"), _interval(loss, 0.1 * loss)),
        "loss_barrier": (scalar, above),
        "loss_barrier_ci": ((*scalar, "bound"), _interval(above, 0.1 * above)),
        "example_loss": ((*path, "example"), (loss[..., None] * noise).astype(np.float32)),
    }
    if accuracy:
        correct = np.exp(-loss / 3)
        variables |= {
            "accuracy": (path, correct),
            "accuracy_ci": ((*path, "bound"), _interval(correct, 0.1 * (1 - correct))),
            "error_barrier": (scalar, above / 5),
            "error_barrier_ci": ((*scalar, "bound"), _interval(above / 5, above / 50)),
        }
    coords = {
        "alignment": list(heights),
        "t": t,
        "example": np.arange(examples),
        "baseline": list(schema.BASELINES),
        "bound": list(schema.BOUNDS),
        "split": "test",
    }
    return schema.annotate(xr.Dataset(variables, coords), "barrier", {"seed": 0})


def fake_basin(*, modes: int = 3, accuracy: bool = True, copies: bool = True, lowest: float = 0.05) -> xr.Dataset:
    """Make a valid basin dataset: A and the third mode in one valley, B in another behind a ridge of height 2."""
    u, v = np.linspace(-2.0, 6.0, 33), np.linspace(-2.0, 4.0, 25)
    names = ["A", "B", "B aligned" if copies else "C"][:modes]
    at = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])[:modes]
    x, y = np.meshgrid(u, v, indexing="ij")
    loss = lowest + np.minimum(x**2, np.hypot(x - 4, y) ** 2) / 2
    level = [lowest + 0.5]
    label = np.where(loss <= level[0], np.where(x < 2, 1, 2), 0)[None]
    nodes = [(int((u == p[0]).nonzero()[0][0]), int((v == p[1]).nonzero()[0][0])) for p in at]
    own = [int(label[0][node]) for node in nodes]
    saddle = np.where(np.equal.outer(own, own), lowest, lowest + 2.0)
    pair, plane = ("mode", "other"), ("u", "v")
    variables = {
        "loss": (plane, loss),
        "loss_ci": ((*plane, "bound"), _interval(loss, 0.1 * loss)),
        "mode_u": ("mode", at[:, 0]),
        "mode_v": ("mode", at[:, 1]),
        "mode_loss": ("mode", [loss[node] for node in nodes]),
        "mode_copy_of": ("mode", ["", "", "B" if copies else ""][:modes]),
        "saddle_loss": (pair, saddle),
        "saddle_loss_ci": ((*pair, "bound"), _interval(saddle, 0.1 * saddle)),
        "escape_loss": ("mode", np.full(modes, lowest)),
        "component": (("level", *plane), label),
        "mode_component": (("level", "mode"), [own]),
        "component_area": (("level", "mode"), [[float((label == k).sum()) for k in own]]),
        "component_open": (("level", "mode"), np.ones((1, modes), dtype=bool)),
    }
    if accuracy:
        correct = np.exp(-loss / 3)
        variables |= {
            "accuracy": (plane, correct),
            "accuracy_ci": ((*plane, "bound"), _interval(correct, 0.1 * (1 - correct))),
            "mode_accuracy": ("mode", [correct[node] for node in nodes]),
            "saddle_error": (pair, saddle / 5),
            "saddle_error_ci": ((*pair, "bound"), _interval(saddle / 5, saddle / 50)),
        }
    coords = {"u": u, "v": v, "mode": names, "other": names, "level": level, "bound": list(schema.BOUNDS)}
    return schema.annotate(xr.Dataset(variables, {**coords, "split": "test"}), "basin", {"seed": 0})


def _interval(middle: np.ndarray, half: np.ndarray) -> np.ndarray:
    # Not symmetric, so that a swapped bound shows.
    return np.stack([middle - half, middle + 2 * half], axis=-1)


@pytest.fixture
def make_barrier() -> Callable[..., xr.Dataset]:
    return fake_barrier


@pytest.fixture
def barrier() -> xr.Dataset:
    return fake_barrier()


@pytest.fixture
def make_basin() -> Callable[..., xr.Dataset]:
    return fake_basin


@pytest.fixture
def basin() -> xr.Dataset:
    return fake_basin()
