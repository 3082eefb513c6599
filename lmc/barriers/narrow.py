"""What computing in a half-precision dtype did to the ends of a path, held against float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lmc.barriers.setting import Setting
from lmc.evaluation import PathEvaluation, evaluate_path
from lmc.interpolation import AbstractPath

NARROW = (torch.bfloat16, torch.float16)
"""Dtypes whose rounding can be as large as a barrier."""


def end_differences(
    setting: Setting, paths: Mapping[str, AbstractPath], evaluations: Sequence[PathEvaluation]
) -> dict[str, Any]:
    """Evaluate the ends of every path in float32 too, where the measurement was in half precision.

    Parameters
    ----------
    setting : Setting
        Of the measurement, with its dtype.
    paths : mapping of names to paths
        As they were measured.
    evaluations : sequence of PathEvaluation
        What was measured, in the same order; both ends are on the grid.

    Returns
    -------
    dict
        ``dtype_loss_difference`` and, for what has an accuracy, ``dtype_accuracy_difference``: dims alignment and end,
        the measured mean minus that in float32. Empty for wider dtypes.
    """
    if setting.dtype not in NARROW:
        return {}
    options = {"loss": setting.loss, "normalizations": setting.normalizations, "device": setting.device}
    wide = [evaluate_path(setting.module, path, [0.0, 1.0], setting.data, **options) for path in paths.values()]
    pairs = list(zip(evaluations, wide, strict=True))
    found = {"dtype_loss_difference": [narrow.loss[[0, -1]] - end.loss for narrow, end in pairs]}
    if pairs[0][0].accuracy is not None:
        found["dtype_accuracy_difference"] = [narrow.accuracy[[0, -1]] - end.accuracy for narrow, end in pairs]  # type: ignore[index,operator]
    return {name: (("alignment", "end"), np.stack(rows)) for name, rows in found.items()}
