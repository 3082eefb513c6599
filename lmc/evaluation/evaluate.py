"""Loss and correctness of every example at every position of a path: nothing is averaged over batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from lmc.evaluation.engine import AbstractEngine, CopyEngine, Prepared, state_bytes
from lmc.evaluation.fast import EXAMPLES, FastEngine
from lmc.evaluation.inputs import Normalizations, network_inputs, normalization_at, resolve_device
from lmc.evaluation.losses import Loss, resolve_loss
from lmc.evaluation.metrics import resolve_metric

_BLOCK_ELEMENTS = 2**18
"""Outputs of several points that losses are computed of at once: for small networks, calls cost more than numbers."""


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
    example_loss : array, shape (t, example)
        Loss of each example (nats, for the cross-entropies), float32, or float64 where that was asked for.
    example_correct : array, shape (t, example), or None
        Bool for classes, the share of each window (float32) for tokens, None where nothing can be correct.
    seconds : float
        Time it took.
    how : str
        What the engine did to be fast.
    """

    t: NDArray[np.float64]
    example_loss: NDArray[Any]
    example_correct: NDArray[Any] | None
    seconds: float
    how: str = ""

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
        By default as many as keep what the layers make in the cache. The result does not depend on it beyond rounding.
    device, dtype
        Where and in which floating dtype to compute.
    normalizations : pair of Normalization or None, optional
        Constants of A and of B, interpolated along t; by default the data's own at every position.
    memory : int, in bytes
        Room for parameter points held at the same time.
    engine : AbstractEngine, optional
        How to run the network at several points; `FastEngine` by default, whose numbers are those of `CopyEngine`.
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
        together=loss is None,
        normalizations=normalizations or (data.normalization, data.normalization),
        device=resolve_device(device, dtype),
        dtype=dtype,
        engine=engine or FastEngine(),
    )
    metric, examples = job.probe()
    held = max(1, memory // max(1, state_bytes(module, dtype)))
    chunks = [slice(start, start + held) for start in range(0, len(points), held)]
    total = data.size * len(points) if data.in_memory and data.size else None
    passes = []
    with progress(total=total, desc="evaluating") if progress else nullcontext(_Silent()) as bar:
        for chunk in chunks:
            passes.append(job.read_once(points[chunk], examples, batch_size, metric, bar))
    return _collect(points, passes, time.perf_counter() - started)


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


@dataclass(frozen=True)
class _Pass:
    """What one pass of the data gave at some positions: arrays (positions, examples)."""

    loss: NDArray[Any]
    correct: NDArray[Any] | None
    how: str


@dataclass(frozen=True)
class _Job:
    """What stays the same at every position."""

    module: nn.Module
    path: Path
    data: AbstractData
    loss: Loss
    together: bool  # a loss of the user's own may look at its whole batch: it gets one position at a time
    normalizations: Normalizations
    device: torch.device
    dtype: torch.dtype
    engine: AbstractEngine

    def probe(self) -> tuple[Loss | None, Tensor]:
        """Try a few examples before the long work: errors come now; returns the metric and the examples."""
        batch = next(iter(self.data.batches(EXAMPLES)), (torch.empty(0), torch.empty(0)))
        if len(batch[0]) == 0:
            raise DatasetError(f"The {self.data.split} split of {self.data.name!r} has no examples.")
        inputs, targets = batch[0][:EXAMPLES], batch[1][:EXAMPLES].to(self.device)
        # The module's own weights tell the shapes; a position may be costly to make.
        seen = self.normalised(inputs, [self.normalizations[0]])
        prepared = CopyEngine().prepare(self.module, [self.module.state_dict()], self.device, self.dtype, seen)
        with torch.inference_mode():
            outputs = next(iter(prepared.run(seen)))
            self.loss(_widened(outputs), targets)
        classes = self.data.num_classes
        metric = resolve_metric(self.data.task, outputs, targets)
        if metric is not None and classes is not None and outputs.shape[-1] < classes:
            raise DatasetError(
                f"The network has {outputs.shape[-1]} classes, {self.data.name!r} has {classes}: another head or "
                "another dataset is needed."
            )
        return metric, inputs

    def prepare(self, points: NDArray[np.float64], examples: Tensor) -> tuple[Prepared, list[Normalization | None]]:
        positions = [float(t) for t in points]
        constants = [normalization_at(self.normalizations, t) for t in positions]
        states = [self.path.at(t) for t in positions]
        seen = self.normalised(examples, constants)
        return self.engine.prepare(self.module, states, self.device, self.dtype, seen), constants

    def normalised(self, inputs: Tensor, constants: Sequence[Normalization | None]) -> list[Tensor]:
        """Return the inputs of every position, the same tensor where the constants are the same."""
        done = {c: network_inputs(inputs, c, self.device, self.dtype) for c in set(constants)}
        return [done[c] for c in constants]

    def read_once(
        self, points: NDArray[np.float64], examples: Tensor, size: int | None, metric: Loss | None, bar: Bar
    ) -> _Pass:
        """Run one pass of the data at all these positions."""
        prepared, constants = self.prepare(points, examples)
        losses, correct, seen = [], [], 0
        for inputs, targets in self.data.batches(size or prepared.batch_size):
            with torch.inference_mode():
                placed = targets.to(self.device)
                done = 0
                for block in self.blocks(prepared.run(self.normalised(inputs, constants))):
                    repeated = placed.repeat(len(block), *[1] * (placed.ndim - 1))
                    flat = block.flatten(0, 1)
                    losses.append(self.losses(flat, repeated, points[done : done + len(block)], seen))
                    if metric is not None:
                        correct.append(metric(flat, repeated).unflatten(0, (len(block), -1)).cpu().numpy())
                    done += len(block)
                    bar.update(block.shape[0] * block.shape[1])
            seen += len(inputs)
        return _Pass(_joined(losses, len(points)), _joined(correct, len(points)) if correct else None, prepared.how)

    def blocks(self, outputs: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the outputs of several positions at a time, shape (positions, n, ...)."""
        block: list[Tensor] = []
        for output in outputs:
            block.append(output)
            if not self.together or len(block) * output.numel() >= _BLOCK_ELEMENTS:
                yield torch.stack(block)
                block = []
        if block:
            yield torch.stack(block)

    def losses(self, outputs: Tensor, targets: Tensor, t: NDArray[np.float64], seen: int) -> NDArray[Any]:
        losses = self.loss(_widened(outputs), targets).unflatten(0, (len(t), -1))
        finite = losses.isfinite()
        if not finite.all():
            position, first = (int(k) for k in (~finite).nonzero()[0])
            wrong = int((~finite[position]).sum())
            raise InputError(
                f"The loss of example {seen + first} at t = {t[position]:g} is {losses[position, first].item()} "
                f"({wrong} of {losses.shape[1]} in its batch): no mean or barrier exists. Check the weights and the "
                f"normalisation of the inputs, or compute in a wider dtype than {self.dtype}."
            )
        return losses.to(torch.float64 if self.dtype == torch.float64 else torch.float32).cpu().numpy()


def _joined(blocks: Sequence[NDArray[Any]], positions: int) -> NDArray[Any]:
    """Put blocks (some positions, some examples), positions running fastest, together."""
    rows: list[list[NDArray[Any]]] = []
    done = positions
    for block in blocks:
        if done == positions:
            rows.append([])
            done = 0
        rows[-1].append(block)
        done += len(block)
    return np.concatenate([np.concatenate(row) for row in rows], axis=1)


def _positions(t: ArrayLike) -> NDArray[np.float64]:
    points = np.atleast_1d(np.asarray(t, dtype=np.float64))
    if points.ndim != 1 or points.size == 0 or not np.isfinite(points).all():
        raise UsageError(f"Positions must be one or more finite numbers in one dimension, got {t!r}.")
    return points


def _widened(outputs: Tensor) -> Tensor:
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _collect(points: NDArray[np.float64], passes: Sequence[_Pass], seconds: float) -> PathEvaluation:
    correct = [one.correct for one in passes if one.correct is not None]
    return PathEvaluation(
        points,
        np.concatenate([one.loss for one in passes]),
        np.concatenate(correct) if correct else None,
        seconds,
        "; ".join(dict.fromkeys(one.how for one in passes)),
    )
