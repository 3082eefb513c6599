"""A plane's grid through the evaluation engine: the one place that knows how many states are evaluated at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn

from lmc._errors import InputError
from lmc.barriers.intervals import bootstrap_means
from lmc.barriers.parts import evaluate_paths
from lmc.barriers.setting import Setting
from lmc.datasets import AbstractData
from lmc.evaluation import PathEvaluation
from lmc.evaluation.evaluate import Progress
from lmc.interpolation import Plane, batchnorm_layers, reset_batchnorm
from lmc.units import WorkFolder

_BYTES = 4 + 1 + 8
"""Of one example at one point: its loss, whether it is correct, and either in float64 for the bootstrap."""

_UNKNOWN_SIZE = 60_000
"""Examples to reckon with where a stream does not tell."""


@dataclass(frozen=True)
class GridPoints:
    """The points of a grid as a path whose position is the number of the point, v running fastest."""

    module: nn.Module
    plane: Plane
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    train: AbstractData | None
    places: Mapping[str, Any]

    @property
    def count(self) -> int:
        """Number of points."""
        return self.u.size * self.v.size

    def at(self, t: float) -> Mapping[str, Tensor]:
        """Return the state dict of point number ``t``."""
        row, column = divmod(int(t), self.v.size)
        state = self.plane.at(float(self.u[row]), float(self.v[column]))
        if self.train is None or not batchnorm_layers(self.module):
            return state
        return reset_batchnorm(self.module, state, self.train, **self.places)


@dataclass(frozen=True, eq=False)
class GridValues:
    """What is kept of the examples; a row is of the loss, the second, where there is one, of correctness."""

    mean: NDArray[np.float64]
    interval: NDArray[np.float64]
    drawn: NDArray[np.float64]
    size: int
    seconds: float
    examples: list[NDArray[Any]]

    def variables(self, shape: tuple[int, int], examples: bool) -> dict[str, Any]:
        """Return means and intervals on the grid, and the values of examples where they are kept."""
        found: dict[str, Any] = {"seconds_evaluate": ((), self.seconds)}
        for name, kept, row in (("loss", "example_loss", 0), ("accuracy", "example_correct", 1)):
            if row < len(self.mean):
                found[name] = (("u", "v"), self.mean[row].reshape(shape))
                found[f"{name}_ci"] = (("u", "v", "bound"), self.interval[row].reshape(*shape, 2))
                if examples:
                    found[kept] = (("u", "v", "example"), self.examples[row].reshape(*shape, self.size))
        return found


def evaluate_grid(
    points: GridPoints,
    data: AbstractData,
    options: dict[str, Any],
    *,
    resamples: int,
    seed: int,
    confidence: float,
    memory: int,
    examples: bool,
    work: WorkFolder | None = None,
    progress: Progress | None = None,
) -> GridValues:
    """Evaluate every point of the grid; values of examples are reduced chunk by chunk, and dropped unless kept.

    What a work folder holds already is taken from there.
    """
    held = max(1, memory // (_BYTES * (data.size or _UNKNOWN_SIZE)))
    size, seconds, parts, kept = 0, 0.0, [], []
    for start in range(0, points.count, held):
        numbers = np.arange(start, min(start + held, points.count), dtype=np.float64)
        found = _evaluate(points, Setting(points.module, data, numbers, **options), work, progress)
        kinds = [found.example_loss] + ([] if found.example_correct is None else [found.example_correct])
        mean = np.stack([kind.mean(axis=1, dtype=np.float64) for kind in kinds])
        # One seed draws the same resamples for every chunk.
        drawn = np.stack([bootstrap_means(kind.T, resamples=resamples, seed=seed) for kind in kinds])
        parts.append((mean, _intervals(kinds, mean, confidence), drawn.swapaxes(1, 2)))
        size, seconds = kinds[0].shape[1], seconds + found.seconds
        if examples:
            kept.append(kinds)
    mean, interval, drawn = (np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True))
    joined = [np.concatenate(pieces) for pieces in zip(*kept, strict=True)]
    return GridValues(mean, interval, drawn.swapaxes(1, 2), size, seconds, joined)


def _evaluate(
    points: GridPoints, setting: Setting, work: WorkFolder | None, progress: Progress | None
) -> PathEvaluation:
    statistics = 0 if points.train is None else points.train.size or 0
    try:
        return evaluate_paths(setting, {"plane": points}, work=work, extra_examples=statistics, progress=progress)[0]
    except InputError as error:
        if type(error) is not InputError:
            raise
        raise InputError(
            f"On the plane, where t counts the points (t = u * {points.v.size} + v, by their indices): {error} A "
            "smaller margin stays closer to the modes."
        ) from error


def _intervals(kinds: list[NDArray[Any]], mean: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Return intervals of the means, shape (kind, point, 2): the normal one, and Wilson's for shares of examples."""
    z, size = ndtri((1 + confidence) / 2), kinds[0].shape[1]
    half = z * kinds[0].std(axis=1, dtype=np.float64, ddof=min(1, size - 1)) / math.sqrt(size)
    found = [np.stack([mean[0] - half, mean[0] + half], axis=-1)]
    for share in mean[1:]:
        middle, scale = share + z**2 / (2 * size), 1 + z**2 / size
        half = z * np.sqrt(share * (1 - share) / size + (z / (2 * size)) ** 2)
        found.append(np.stack([middle - half, middle + half], axis=-1).clip(0, scale) / scale)
    return np.stack(found)
