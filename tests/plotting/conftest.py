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


def _interval(middle: np.ndarray, half: np.ndarray) -> np.ndarray:
    # Not symmetric, so that a swapped bound shows.
    return np.stack([middle - half, middle + 2 * half], axis=-1)


@pytest.fixture
def make_barrier() -> Callable[..., xr.Dataset]:
    return fake_barrier


@pytest.fixture
def barrier() -> xr.Dataset:
    return fake_barrier()
