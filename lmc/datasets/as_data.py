"""The user's own examples: arrays, a torch Dataset, a DataLoader or any iterable of batches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from lmc._errors import DatasetError, UsageError
from lmc.datasets.check import check_task, infer_task, to_inputs, to_targets
from lmc.datasets.data import AbstractData, Data, StreamedData, Task, read_batch
from lmc.datasets.normalization import Normalization

_BATCH = 256
_FIX = "Pass arrays (x, y), a torch Dataset, a DataLoader, or an object whose __iter__ starts anew each time."


def as_data(
    obj: Any,
    *,
    name: str = "data",
    split: str = "all",
    reference: str | None = None,
    normalization: Normalization | None = None,
    num_classes: int | None = None,
    task: Task | None = None,
    notes: tuple[str, ...] = (),
) -> AbstractData:
    """Wrap whatever holds examples.

    Parameters
    ----------
    obj : (inputs, targets), torch Dataset, DataLoader or iterable of batches
        Arrays and a ``TensorDataset`` are held in memory; anything else is read anew on each pass and never held.
        Bytes (uint8) are taken as images: scaled to [0, 1], channels first. An `AbstractData` is returned as it is.
    name, split, reference, normalization, num_classes, notes
        As in `AbstractData`; ``num_classes`` is the largest label plus one where it is not given and all labels are
        at hand.
    task : {"classification", "tokens", "regression"}, optional
        Told from the targets where it is not given. Where it is, whole numbers serve as classes and as values,
        whatever their dtype.

    Returns
    -------
    AbstractData

    Raises
    ------
    UsageError
        For an unknown task, or another one than that of an `AbstractData`.
    DatasetError
        For a name, a lone array, an iterator that can be read only once, a loader that shuffles, unusable labels, or
        inputs that are not finite.
    """
    check_task(task)
    if isinstance(obj, AbstractData):
        if task not in (None, obj.task):
            raise UsageError(f"{obj.name!r} says itself that its task is {obj.task!r}: it cannot be {task!r}.")
        return obj
    _refuse_half(obj, name)
    about = {
        "name": name,
        "split": split,
        "reference": reference or name,
        "normalization": normalization,
        "notes": notes,
    }
    if isinstance(obj, TensorDataset) and len(obj.tensors) == 2:
        obj = obj.tensors
    if isinstance(obj, (tuple, list)) and len(obj) == 2 and all(isinstance(part, (Tensor, np.ndarray)) for part in obj):
        return _from_arrays(obj[0], obj[1], num_classes, task, about)
    source, size = _source(obj, name)
    return _from_stream(source, size, num_classes, task, about)


def _refuse_half(obj: Any, name: str) -> None:
    """Refuse what is only a name of examples, or only their inputs."""
    if isinstance(obj, (str, os.PathLike)):
        raise DatasetError(
            f"{str(obj)!r} is a name, not examples: use lmc.open_data({str(obj)!r}), or pass (inputs, targets)."
        )
    if isinstance(obj, (Tensor, np.ndarray)):
        raise DatasetError(
            f"{name}: one array of shape {tuple(obj.shape)} has no targets. Pass (inputs, targets), or use "
            "lmc.open_data('digits') or another dataset by name."
        )


def _from_arrays(x: Any, y: Any, num_classes: int | None, task: Task | None, about: dict[str, Any]) -> Data:
    inputs, notes = to_inputs(x, about["name"])
    targets = to_targets(y, about["name"], task)
    task = task or infer_task(inputs, targets, about["name"])  # type: ignore[assignment]
    if task == "regression":
        num_classes = None
    elif num_classes is None and targets.numel() and not targets.is_floating_point():
        num_classes = int(targets.max()) + 1
    about = {**about, "notes": about["notes"] + notes}
    return Data(inputs, targets, task=task, num_classes=num_classes, **about)  # type: ignore[arg-type]


def _from_stream(
    source: Iterable[Any], size: int | None, num_classes: int | None, task: Task | None, about: dict[str, Any]
) -> StreamedData:
    """Look at the first batch to learn the shape of an example and the task."""
    first = next(iter(source), None)
    if first is None:
        raise DatasetError(f"{about['name']}: there are no batches.")
    inputs, targets = read_batch(first, 0, about["name"], task)
    task = task or infer_task(inputs, targets, about["name"])  # type: ignore[assignment]
    return StreamedData(source, tuple(inputs.shape[1:]), size, task=task, num_classes=num_classes, **about)  # type: ignore[arg-type]


def _source(obj: Any, name: str) -> tuple[Iterable[Any], int | None]:
    """Return an iterable of batches that starts anew each time, and the number of examples if known."""
    if isinstance(obj, Dataset):
        # A generator of its own: a loader without one draws from the global random state.
        loader = DataLoader(obj, batch_size=_BATCH, generator=torch.Generator())
        return loader, None if isinstance(obj, IterableDataset) else len(obj)  # type: ignore[arg-type]
    if isinstance(obj, DataLoader):
        if isinstance(obj.sampler, RandomSampler):
            raise DatasetError(
                f"{name}: the DataLoader shuffles, so two passes give different orders. Use shuffle=False."
            )
        sized = not isinstance(obj.dataset, IterableDataset) and not obj.drop_last
        return obj, len(obj.dataset) if sized else None  # type: ignore[arg-type]
    try:
        iterator = iter(obj)
    except TypeError:
        raise DatasetError(f"{name}: {type(obj).__name__} holds no examples. {_FIX}") from None
    if iterator is obj:
        raise DatasetError(
            f"{name}: {type(obj).__name__} can be read only once, and each position of a path needs them all. {_FIX}"
        )
    return obj, None
