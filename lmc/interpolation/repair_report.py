"""What REPAIR found and what it left: the statistics of every layer's units before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lmc.interpolation.moments import Moments
from lmc.interpolation.repair import RepairedPath

STAGES = ("before", "after")


@dataclass(frozen=True)
class RepairReport:
    """Statistics of units at one position, against those that they should have: the ends', interpolated.

    Parameters
    ----------
    t : float, in [0, 1]
        The position.
    layers : tuple of str
        Layers that were corrected, in the order in which the network runs them.
    treatments : tuple of str
        What was done to each: ``scale and shift``, ``scale only`` (no bias to shift by), ``reset, ...`` for BatchNorm.
    std : tuple of (float, float)
        For each layer the sum of its units' standard deviations over the sum of those they should have, before and
        after: below 1 the variance has collapsed. NaN where no unit should vary.
    mean : tuple of (float, float)
        For each layer the distance of its units' means from those they should have, over the root of the sum of their
        variances, before and after.
    left : mapping of str to str
        Modules with parameters that were left as they are, and why.
    """

    t: float
    layers: tuple[str, ...]
    treatments: tuple[str, ...]
    std: tuple[tuple[float, float], ...]
    mean: tuple[tuple[float, float], ...]
    left: Mapping[str, str]


def repair_report(path: RepairedPath, t: float = 0.5) -> RepairReport:
    """Measure the statistics of units at a position with and without the repair, a pass over the data each.

    Parameters
    ----------
    path : RepairedPath
        Its inner path is what ``before`` is measured on, BatchNorm statistics interpolated.
    t : float, in [0, 1]
        The position.
    """
    layers = [layer for layer in path.layers.layers if layer.corrected]
    target = path.target(t)
    stages = [path.measured(state, t) for state in (path.path.at(t), path.at(t))] if layers else []
    std, mean = (
        tuple(_both([compare(stage[layer.name], target[layer.name]) for stage in stages]) for layer in layers)
        for compare in (std_ratio, mean_distance)
    )
    names = tuple(layer.name for layer in layers)
    return RepairReport(t, names, tuple(layer.treatment for layer in layers), std, mean, path.layers.left)


def std_ratio(seen: Moments, target: Moments) -> float:
    """Return the sum of standard deviations over that of the target's, NaN where no unit should vary."""
    expected = float(target.std.sum())
    return float(seen.std.sum()) / expected if expected else math.nan


def mean_distance(seen: Moments, target: Moments) -> float:
    """Return the distance of the means from the target's in its standard deviations, NaN where no unit should vary."""
    expected = float(target.std.norm())
    return float((seen.mean - target.mean).norm()) / expected if expected else math.nan


def _both(values: list[float]) -> tuple[float, float]:
    before, after = values
    return before, after
