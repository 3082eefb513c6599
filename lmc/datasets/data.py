"""Datasets as the rest of the house sees them: raw batches, and what is known about them."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from lmc._errors import DatasetError
from lmc.datasets.check import check_batch, to_inputs, to_targets
from lmc.datasets.normalization import Normalization

Task = Literal["classification", "tokens", "regression"]


class AbstractData(abc.ABC):
    """Examples with targets, in a fixed order.

    Attributes
    ----------
    name, split, reference : str
        What it is, which part of it, and what to pass as ``--data`` to get it again.
    task : {"classification", "tokens", "regression"}
        ``tokens``: a target for each position of a window.
    num_classes : int or None
        Classes (``classification``) or tokens (``tokens``).
    normalization : Normalization or None
        What the network expects of the raw inputs; never applied here.
    notes : tuple of str
        What a reader of results must know.
    """

    name: str
    split: str
    reference: str
    task: Task
    num_classes: int | None
    normalization: Normalization | None
    notes: tuple[str, ...]

    @property
    @abc.abstractmethod
    def in_memory(self) -> bool:
        """Whether the examples are held as two tensors."""

    @property
    @abc.abstractmethod
    def size(self) -> int | None:
        """Number of examples, None where only a pass over them can tell."""

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of the decoded examples and targets, independent of how they are batched."""

    @abc.abstractmethod
    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield raw inputs (float32, or int64 tokens) and targets, always in the same order."""


@dataclass(frozen=True, eq=False)
class Data(AbstractData):
    """A set held in memory, decoded once.

    Parameters
    ----------
    inputs : Tensor, shape (examples, ...)
        float32 before normalisation (images in [0, 1]), or int64 tokens.
    targets : Tensor, shape (examples,) or (examples, positions)
        int64 classes or tokens; floating point for regression.
    name, split, reference, task, num_classes, normalization, notes
        As in `AbstractData`.

    Raises
    ------
    DatasetError
        If the set is empty, lengths differ, an input is not finite, or a label is out of range.
    """

    inputs: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)
    name: str = "arrays"
    split: str = "all"
    reference: str = ""
    task: Task = "classification"
    num_classes: int | None = None
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.inputs):
            raise DatasetError(f"{self.name}, split {self.split!r}: there are no examples.")
        check_batch(self.inputs, self.targets, self.task, self.num_classes, f"{self.name}, split {self.split!r}")

    @property
    def in_memory(self) -> bool:
        """True."""
        return True

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.inputs.shape[1:])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the decoded examples and targets."""
        fingerprint = _Fingerprint()
        fingerprint.add(self.inputs, self.targets)
        return fingerprint.digest

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield slices of the held tensors, not copies; the last may be smaller."""
        yield from zip(self.inputs.split(batch_size), self.targets.split(batch_size), strict=True)

    def limited(self, count: int) -> Data:
        """Return the first ``count`` examples as a set of their own."""
        if count < 1:
            raise DatasetError(f"{self.name}: limit={count} leaves no examples.")
        return replace(self, inputs=self.inputs[:count], targets=self.targets[:count])


@dataclass(frozen=True, eq=False)
class StreamedData(AbstractData):
    """A set that is read anew on each pass; the source decides the size of its batches.

    Each pass is compared with the first one: examples that come in another order, or other examples, are an error,
    since values at different positions of a path would then belong to different examples.

    Parameters
    ----------
    source : iterable of (inputs, targets)
        Batches, first dimension the examples; can be iterated over again and again.
    shape : tuple of int
        Of one example.
    length : int, optional
        Number of examples, where it is known.
    name, split, reference, task, num_classes, normalization, notes
        As in `AbstractData`.
    """

    source: Iterable[Any] = field(repr=False)
    shape: tuple[int, ...]
    length: int | None = None
    name: str = "stream"
    split: str = "all"
    reference: str = ""
    task: Task = "classification"
    num_classes: int | None = None
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()
    _first_pass: list[str] = field(default_factory=list, repr=False)

    @property
    def in_memory(self) -> bool:
        """False."""
        return False

    @property
    def size(self) -> int | None:
        """Number of examples, where it is known without a pass."""
        return self.length

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.shape

    @property
    def digest(self) -> str:
        """SHA-256 of the decoded examples and targets; costs a pass where none has been completed yet."""
        if not self._first_pass:
            for _ in self.batches(0):
                pass
        return self._first_pass[0]

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the source's own batches, whatever ``batch_size`` says."""
        fingerprint = _Fingerprint()
        for number, batch in enumerate(self.source):
            inputs, targets = read_batch(batch, number, self.name, self.task)
            check_batch(inputs, targets, self.task, self.num_classes, f"{self.name}, batch {number}")
            fingerprint.add(inputs, targets)
            yield inputs, targets
        if fingerprint.empty:
            raise DatasetError(f"{self.name}: a pass gave no batches. An iterator that is used up? Pass the iterable.")
        if not self._first_pass:
            self._first_pass.append(fingerprint.digest)
        elif self._first_pass[0] != fingerprint.digest:
            raise DatasetError(
                f"{self.name}: two passes gave different examples, or another order. Every position of a path must see "
                "the same examples: use shuffle=False and no random augmentation."
            )


def read_batch(batch: Any, number: int, name: str, task: str | None) -> tuple[Tensor, Tensor]:
    """Take a batch apart, and give its parts the dtypes that everything else expects."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        keys = f" with keys {', '.join(map(str, batch))}" if isinstance(batch, dict) else ""
        raise DatasetError(
            f"{name}, batch {number}: (inputs, targets) is needed, not {type(batch).__name__}{keys}. "
            "Wrap it: class Pairs, with __iter__ yielding (batch['x'], batch['y'])."
        )
    return to_inputs(batch[0], name)[0], to_targets(batch[1], name, task)


class _Fingerprint:
    """Running SHA-256 over examples, the same however they are batched."""

    def __init__(self) -> None:
        self._hashes = (hashlib.sha256(), hashlib.sha256())
        self.empty = True

    def add(self, *tensors: Tensor) -> None:
        for running, tensor in zip(self._hashes, tensors, strict=True):
            if self.empty:
                running.update(f"{tensor.dtype} {tuple(tensor.shape[1:])}".encode())
            running.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        self.empty = False

    @property
    def digest(self) -> str:
        return hashlib.sha256(b"".join(running.digest() for running in self._hashes)).hexdigest()
