"""Examples and targets brought to one form, and refused where they cannot mean what is asked of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmc._errors import DatasetError, unknown

TASKS = ("classification", "tokens", "regression")
_REGRESSION = (
    'If they are the values of a regression, say so: --data "file.npz?task=regression", or in Python '
    'lmc.as_data(data, task="regression").'
)


def to_tensor(value: Any, what: str) -> Tensor:
    """Return anything array-like as a CPU tensor."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DatasetError(f"{what}: numbers are needed, not values of dtype {array.dtype}.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if not array.flags.writeable or not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))  # torch warns about memory it may not write to
    return torch.from_numpy(np.ascontiguousarray(array))


def to_inputs(value: Any, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return inputs as float32 or int64, and notes on what was done.

    Bytes are images: they are scaled to [0, 1], channels are put first, and a lone channel gets its dimension.
    Other integers are tokens.
    """
    x = to_tensor(value, f"{name}, inputs")
    if x.ndim == 0:
        raise DatasetError(f"{name}: inputs have no dimensions; (examples, ...) is needed.")
    if x.dtype == torch.uint8:
        return _images(x)
    if x.is_floating_point():
        return x.to(torch.float32), ()
    return x.to(torch.int64), ()


def _images(x: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    notes = ("bytes scaled to [0, 1]",)
    if x.ndim == 3:
        x, notes = x.unsqueeze(1), (*notes, "channel dimension added")
    elif x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x, notes = x.movedim(-1, 1), (*notes, "channels moved to the front")
    return (x.to(torch.float32) / 255).contiguous(), notes


def to_targets(value: Any, name: str, task: str | None = None) -> Tensor:
    """Return targets as int64 or float32: as they are, or as a task that was named reads them."""
    y = to_tensor(value, f"{name}, targets")
    if task == "regression":
        return y.to(torch.float32)
    if y.is_floating_point() and (task is None or not _whole(y)):
        return y.to(torch.float32)
    return y.to(torch.int64)


def check_task(task: str | None) -> None:
    """Refuse a task that does not exist."""
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)


def infer_task(inputs: Tensor, targets: Tensor, name: str) -> str:
    """Say what the targets ask for."""
    if targets.is_floating_point():
        if _one_hot(targets):
            raise DatasetError(
                f"{name}: the targets look like one-hot rows of dtype {targets.dtype}. If they are classes, pass "
                f"y.argmax(1). {_REGRESSION}"
            )
        if targets.shape[1:].numel() == 1 and _whole(targets):
            raise DatasetError(
                f"{name}: the targets are whole numbers of dtype {targets.dtype}. Cast them to integers if they are "
                f"classes: y.astype('int64'). {_REGRESSION}"
            )
        return "regression"
    return "tokens" if targets.ndim == 2 and targets.shape == inputs.shape else "classification"


def _whole(values: Tensor) -> bool:
    return bool((values.isfinite() & (values == values.round())).all())


def _one_hot(targets: Tensor) -> bool:
    """Say whether each row is 0 but for a single 1."""
    if targets.ndim != 2 or targets.shape[1] < 2 or not len(targets):
        return False
    return bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(1) == 1).all())


def check_batch(inputs: Tensor, targets: Tensor, task: str, num_classes: int | None, name: str) -> None:
    """Refuse examples that no loss can be computed for.

    Raises
    ------
    DatasetError
        Lengths that differ, inputs or targets that are not finite, labels that are no whole numbers or out of range.
    """
    if len(inputs) != len(targets):
        raise DatasetError(f"{name}: {len(inputs)} inputs, but {len(targets)} targets.")
    for what, values in (("input", inputs), ("target", targets)):
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            example = int((~torch.isfinite(values)).flatten(1 if values.ndim > 1 else 0).nonzero()[0, 0])
            raise DatasetError(f"{name}: the {what} of example {example} is NaN or infinite. Remove or repair it.")
    if task == "regression":
        return
    if targets.is_floating_point():
        raise DatasetError(f"{name}: labels must be integers, not {targets.dtype}. Cast them: y.astype('int64').")
    dims = 2 if task == "tokens" else 1
    if targets.ndim != dims:
        raise DatasetError(
            f"{name}: targets of shape {tuple(targets.shape)}; {task} needs {dims} dimension(s). "
            "For one-hot rows pass y.argmax(1), for a column y[:, 0]."
        )
    if targets.numel():
        _check_labels(targets, num_classes, name)


def _check_labels(targets: Tensor, num_classes: int | None, name: str) -> None:
    low, high = int(targets.min()), int(targets.max())
    if low < 0:
        example = int((targets == low).nonzero()[0, 0])
        raise DatasetError(f"{name}: labels must be 0 or above; the smallest is {low}, at example {example}.")
    if num_classes is not None and high >= num_classes:
        example = int((targets == high).nonzero()[0, 0])
        raise DatasetError(
            f"{name}: the label of example {example} is {high}; labels must be from 0 to {num_classes - 1}."
        )
