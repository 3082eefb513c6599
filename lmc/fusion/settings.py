"""What methods share: settings taken over, written back and checked, and the examples a method looks at."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from lmc._errors import UsageError, unknown
from lmc._reference import Reference
from lmc.datasets import AbstractData, Data
from lmc.evaluation.inputs import network_inputs
from lmc.fusion.problem import Problem

Method = TypeVar("Method")


def taken_over(kind: type[Method], settings: Any, **others: Any) -> Method:
    """Return a method of a kind, set as another one is where both have a setting of that name."""
    names = {one.name for one in fields(kind)} & {one.name for one in fields(settings)}  # pyright: ignore[reportArgumentType]
    return kind(**{name: getattr(settings, name) for name in names}, **others)


def reference_of(name: str, method: Any) -> str:
    """Return how to ask for a method again: its name, and the settings that are not the default."""
    settings = {one.name: (getattr(method, one.name), one.default) for one in fields(method)}
    return str(Reference(name, {key: value for key, (value, default) in settings.items() if value != default}))


def check_choice(kind: str, value: Any, known: Collection[str]) -> None:
    """Raise UsageError, with the nearest known one, for a setting that is none of a few words."""
    if value not in known:
        raise unknown(kind, value, known)


def check_range(method: str, name: str, value: Any, low: float, high: float = float("inf")) -> None:
    """Raise UsageError for a number that is not in [low, high]."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high or value == float("inf"):
        bound = f"from {low:g} up" if high == float("inf") else f"from {low:g} to {high:g}"
        raise UsageError(f"{method}: {name} must be a number {bound}, got {value!r}.")


def check_examples(method: str, examples: Any) -> None:
    """Raise UsageError for a number of examples that is none; None stands for all there are."""
    if examples is not None and (isinstance(examples, bool) or not isinstance(examples, int) or examples < 1):
        raise UsageError(f"{method}: examples must be a whole number from 1 up, or none for all, got {examples!r}.")


def held(data: AbstractData, examples: int | None) -> Data:
    """Return the first examples of data as a set in memory, all of them for None."""
    if isinstance(data, Data):
        return data if examples is None or examples >= data.size else data.limited(examples)
    inputs, targets, left = [], [], examples
    for x, y in data.batches(256):
        inputs.append(x[:left])
        targets.append(y[:left])
        left = None if left is None else left - len(inputs[-1])
        if left == 0:
            break
    return Data(
        torch.cat(inputs),
        torch.cat(targets),
        name=data.name,
        split=data.split,
        reference=data.reference,
        task=data.task,
        num_classes=data.num_classes,
        normalization=data.normalization,
    )


def network_batches(data: Data, size: int, problem: Problem) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs as the networks take them, on their device and in their dtype, and targets."""
    device, dtype = place_of(problem)
    for inputs, targets in data.batches(size):
        yield network_inputs(inputs, data.normalization, device, dtype), targets.to(device)


def place_of(problem: Problem) -> tuple[torch.device, torch.dtype]:
    """Return where the networks are, and the widest floating type of their weights, float32 at least."""
    dtype = torch.float32
    for tensor in problem.states[0].values():
        dtype = torch.promote_types(dtype, tensor.dtype) if tensor.is_floating_point() else dtype
    return next(iter(problem.states[0].values())).device, dtype
