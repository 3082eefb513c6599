"""Loss and correctness of every example at every position of a path: nothing is averaged over batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from lmc._errors import DatasetError, InputError, UsageError
from lmc._types import StateDict
from lmc.datasets import AbstractData, Normalization
from lmc.evaluation.engine import AbstractEngine, CopyEngine, Runner, state_bytes
from lmc.evaluation.inputs import Normalizations, network_inputs, normalization_at, resolve_device
from lmc.evaluation.losses import Loss, resolve_loss
from lmc.evaluation.metrics import resolve_metric

_BATCH = 500
_CONVOLUTION_BATCH = 128
"""What convolutions make of more examples than this no longer fits the cache."""

_BATCH_ELEMENTS = 2**23
"""Elements of a batch's inputs or outputs, whichever is larger: 32 MiB in float32."""


class Path(Protocol):
    """Anything with parameters at each position; ``lmc.interpolation`` has them."""

    def at(self, t: float) -> StateDict:
        """Return the state dict at a position."""
        ...


class Bar(Protocol):
    """What a progress bar does; tqdm's do."""

    def update(self, n: int = 1) -> Any:
        """Count ``n`` further steps."""
        ...


Progress = Callable[..., AbstractContextManager[Bar]]
"""``progress(total=..., desc=...)``, such as ``tqdm.tqdm``."""


@dataclass(frozen=True)
class PathEvaluation:
    """Every example at every position.

    Parameters
    ----------
    t : array, shape (t,), in [0, 1]
        Positions, in the order asked for.
    example_loss : float32 array, shape (t, example)
        Loss of each example (nats, for the cross-entropies).
    example_correct : array, shape (t, example), or None
        Bool for classes, the share of each window (float32) for tokens, None where nothing can be correct.
    seconds : float
        Time it took.
    """

    t: NDArray[np.float64]
    example_loss: NDArray[np.float32]
    example_correct: NDArray[Any] | None
    seconds: float

    @cached_property
    def loss(self) -> NDArray[np.float64]:
        """Mean loss at each position, shape (t,), every example weighted equally."""
        return self.example_loss.mean(axis=1, dtype=np.float64)

    @cached_property
    def accuracy(self) -> NDArray[np.float64] | None:
        """Mean accuracy at each position, shape (t,), in [0, 1]."""
        return None if self.example_correct is None else self.example_correct.mean(axis=1, dtype=np.float64)


def evaluate_path(
    module: nn.Module,
    path: Path,
    t: ArrayLike,
    data: AbstractData,
    *,
    loss: Loss | None = None,
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    normalizations: Normalizations | None = None,
    memory: int = 2**30,
    engine: AbstractEngine | None = None,
    progress: Progress | None = None,
) -> PathEvaluation:
    """Evaluate a network along a path, example by example.

    The data are read once for each chunk of positions, as many as fit in ``memory``; every position sees the same
    examples in the same order, which the data themselves check from pass to pass.

    Parameters
    ----------
    module : nn.Module
        The network; it is copied, neither its weights nor its mode are touched. Always evaluated in eval mode.
    path : object with ``at(t)``
        Gives a complete state dict at each position.
    t : float or array, shape (t,), in [0, 1]
        Positions.
    data : AbstractData
        Examples with raw inputs.
    loss : callable, optional
        ``loss(outputs, targets)`` to one value for each example; by default the data's task decides.
    batch_size : int, optional
        By default 500, with convolutions 128, fewer where inputs or outputs are large. The result does not depend on
        it beyond rounding.
    device, dtype
        Where and in which floating dtype to compute.
    normalizations : pair of Normalization or None, optional
        Constants of A and of B, interpolated along t; by default the data's own at every position.
    memory : int, in bytes
        Room for parameter points held at the same time.
    engine : AbstractEngine, optional
        How to run the network at several points.
    progress : callable, optional
        Such as ``tqdm.tqdm``; silent by default.

    Returns
    -------
    PathEvaluation

    Raises
    ------
    UsageError
        If a device, dtype, position or size makes no sense.
    MismatchError
        If the path's weights do not fit the module.
    DatasetError
        If the data are empty, do not fit the network's outputs, or change between two passes.
    InputError
        If the loss of an example is not finite.
    """
    started = time.perf_counter()
    points = _positions(t)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}.")
    job = _Job(
        module=module,
        path=path,
        data=data,
        loss=resolve_loss(loss, data.task),
        normalizations=normalizations or (data.normalization, data.normalization),
        device=resolve_device(device, dtype),
        dtype=dtype,
        engine=engine or CopyEngine(),
    )
    metric, default_size = job.probe()
    size = batch_size or default_size
    records = [_Record() for _ in points]
    held = max(1, memory // max(1, state_bytes(module, dtype)))
    chunks = [slice(start, start + held) for start in range(0, len(points), held)]
    total = math.ceil(data.size / size) * len(points) if data.in_memory and data.size else None
    with progress(total=total, desc="evaluating") if progress else nullcontext(_Silent()) as bar:
        for chunk in chunks:
            job.read_once(points[chunk], size, metric, records[chunk], bar)
    return _collect(points, records, time.perf_counter() - started)


def evaluate_state(
    module: nn.Module,
    state: StateDict,
    data: AbstractData,
    *,
    normalization: Normalization | None = None,
    **options: Any,
) -> PathEvaluation:
    """Evaluate a network at one parameter point: a path of a single position.

    Parameters
    ----------
    module, data
        As in :func:`evaluate_path`.
    state : state dict
        The weights.
    normalization : Normalization, optional
        The constants it was trained with; by default the data's own.
    **options
        The rest of :func:`evaluate_path`.

    Returns
    -------
    PathEvaluation
        With arrays of shape (1, example).
    """
    constants = None if normalization is None else (normalization, normalization)
    return evaluate_path(module, _Still(state), 0.0, data, normalizations=constants, **options)


@dataclass(frozen=True)
class _Still:
    """A path that does not move."""

    state: StateDict

    def at(self, t: float) -> StateDict:
        return self.state


class _Silent:
    def update(self, n: int = 1) -> None: ...


class _Record:
    """What one position has collected so far."""

    def __init__(self) -> None:
        self.loss: list[NDArray[np.float32]] = []
        self.correct: list[NDArray[Any]] = []


@dataclass(frozen=True)
class _Job:
    """What stays the same at every position."""

    module: nn.Module
    path: Path
    data: AbstractData
    loss: Loss
    normalizations: Normalizations
    device: torch.device
    dtype: torch.dtype
    engine: AbstractEngine

    def probe(self) -> tuple[Loss | None, int]:
        """Try two examples before the long work: errors come now; returns the metric and a batch size."""
        inputs, targets = next(iter(self.data.batches(2)), (torch.empty(0), torch.empty(0)))
        if len(inputs) == 0:
            raise DatasetError(f"The {self.data.split} split of {self.data.name!r} has no examples.")
        inputs, targets = inputs[:2], targets[:2].to(self.device)
        # The module's own weights tell the shapes; a position may be costly to make.
        run = self.engine.prepare(self.module, [self.module.state_dict()], self.device, self.dtype)
        with torch.inference_mode():
            outputs = next(iter(run(self.normalised(inputs, self.normalizations[:1]))))
            self.loss(_widened(outputs), targets)
        classes = self.data.num_classes
        metric = resolve_metric(self.data.task, outputs, targets)
        if metric is not None and classes is not None and outputs.shape[-1] < classes:
            raise DatasetError(
                f"The network has {outputs.shape[-1]} classes, {self.data.name!r} has {classes}: another head or "
                "another dataset is needed."
            )
        largest = max(inputs.numel(), outputs.numel()) // len(inputs)
        convolves = any(isinstance(layer, nn.modules.conv._ConvNd) for layer in self.module.modules())
        usual = _CONVOLUTION_BATCH if convolves else _BATCH
        return metric, max(1, min(usual, _BATCH_ELEMENTS // max(1, largest)))

    def prepare(self, points: NDArray[np.float64]) -> tuple[Runner, list[Normalization | None]]:
        positions = [float(t) for t in points]
        run = self.engine.prepare(self.module, [self.path.at(t) for t in positions], self.device, self.dtype)
        return run, [normalization_at(self.normalizations, t) for t in positions]

    def normalised(self, inputs: Tensor, constants: Sequence[Normalization | None]) -> list[Tensor]:
        """Return the inputs of every position, the same tensor where the constants are the same."""
        done = {c: network_inputs(inputs, c, self.device, self.dtype) for c in set(constants)}
        return [done[c] for c in constants]

    def read_once(
        self, points: NDArray[np.float64], size: int, metric: Loss | None, records: Sequence[_Record], bar: Bar
    ) -> None:
        """Run one pass of the data at all these positions."""
        run, constants = self.prepare(points)
        seen = 0
        for inputs, targets in self.data.batches(size):
            with torch.inference_mode():
                placed = targets.to(self.device)
                outputs = run(self.normalised(inputs, constants))
                for t, record, output in zip(points, records, outputs, strict=True):
                    record.loss.append(self.losses(output, placed, t, seen))
                    if metric is not None:
                        record.correct.append(metric(output, placed).cpu().numpy())
                    bar.update(1)
            seen += len(inputs)

    def losses(self, outputs: Tensor, targets: Tensor, t: float, seen: int) -> NDArray[np.float32]:
        losses = self.loss(_widened(outputs), targets)
        finite = losses.isfinite()
        if not finite.all():
            first = int((~finite).nonzero()[0])
            raise InputError(
                f"The loss of example {seen + first} at t = {t:g} is {losses[first].item()} ({int((~finite).sum())} of "
                f"{len(losses)} in its batch): no mean or barrier exists. Check the weights and the normalisation of "
                f"the inputs, or compute in a wider dtype than {self.dtype}."
            )
        return losses.float().cpu().numpy()


def _positions(t: ArrayLike) -> NDArray[np.float64]:
    points = np.atleast_1d(np.asarray(t, dtype=np.float64))
    if points.ndim != 1 or points.size == 0 or not np.isfinite(points).all():
        raise UsageError(f"Positions must be one or more finite numbers in one dimension, got {t!r}.")
    return points


def _widened(outputs: Tensor) -> Tensor:
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _collect(points: NDArray[np.float64], records: Sequence[_Record], seconds: float) -> PathEvaluation:
    return PathEvaluation(
        points,
        np.stack([np.concatenate(record.loss) for record in records]),
        np.stack([np.concatenate(record.correct) for record in records]) if records[0].correct else None,
        seconds,
    )
