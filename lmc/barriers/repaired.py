"""REPAIR in a result: the repaired paths, and what shows whether the repair was worth it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from lmc._errors import UsageError
from lmc.datasets import AbstractData
from lmc.evaluation import evaluate_path
from lmc.interpolation import STAGES, AbstractPath, RepairedPath, batchnorm_layers, repair_report

MIDPOINT = 0.5


def refuse_both(recalibrate: Any, repair: Any) -> None:
    """Raise UsageError where BatchNorm reset and REPAIR are both asked for: a result has one protocol."""
    if recalibrate is not None and repair is not None:
        raise UsageError(
            "recalibrate and repair are two ways to set statistics: give one. REPAIR resets BatchNorm as well."
        )


def repaired_paths(
    module: nn.Module, paths: Mapping[str, AbstractPath], data: AbstractData, **places: Any
) -> dict[str, AbstractPath]:
    """Return the paths with REPAIR at every position."""
    return {name: RepairedPath(path, module, data, **places) for name, path in paths.items()}


def repair_variables(
    module: nn.Module, paths: Mapping[str, AbstractPath], data: AbstractData, **options: Any
) -> dict[str, Any]:
    """Return the midpoint's loss and accuracy without the repair, and its units' statistics before and after.

    Parameters
    ----------
    module, paths, data, **options
        As for :func:`lmc.evaluation.evaluate_path`; nothing comes back unless the paths are repaired ones.
    """
    repaired = {name: path for name, path in paths.items() if isinstance(path, RepairedPath)}
    if not repaired or len(repaired) < len(paths):
        return {}
    plain = [evaluate_path(module, path.path, [MIDPOINT], data, **options) for path in repaired.values()]
    found: dict[str, Any] = {"unrepaired_loss": ("alignment", [float(e.loss[0]) for e in plain])}
    if all(e.accuracy is not None for e in plain):
        found["unrepaired_accuracy"] = ("alignment", [float(e.accuracy[0]) for e in plain if e.accuracy is not None])
    reports = [repair_report(path, MIDPOINT) for path in repaired.values()]
    if not reports[0].layers:
        return found
    dims = ("alignment", "layer", "stage")
    return found | {
        "unit_std": (dims, np.array([report.std for report in reports])),
        "unit_mean": (dims, np.array([report.mean for report in reports])),
        "repair_treatment": ("layer", list(reports[0].treatments)),
        "layer": ("layer", list(reports[0].layers)),
        "stage": ("stage", list(STAGES)),
    }


def describe_repair(module: nn.Module, paths: Mapping[str, AbstractPath]) -> dict[str, Any]:
    """Return what is repaired and what is left, as attributes; nothing unless the paths are repaired ones."""
    repaired = [path for path in paths.values() if isinstance(path, RepairedPath)]
    if not repaired or len(repaired) < len(paths):
        return {}
    found, on = repaired[0].layers, f"{repaired[0].data.name} {repaired[0].data.split}"
    layers = [layer for layer in found.layers if layer.corrected]
    bare = sum(not layer.shifts for layer in layers)
    without = f" ({'all' if bare == len(layers) else bare} without a bias: scaled, not shifted)" if bare else ""
    normalized = bool(batchnorm_layers(module))
    return {
        "repair": f"means and standard deviations of {len(layers)} layers{without} set on {on}; "
        f"ends {'with BatchNorm reset' if normalized else 'as they are'}",
        "repair_left": dict(found.left),
        "batchnorm": f"statistics reset on {on}, ends too; then repaired" if normalized else "none in the network",
    }
