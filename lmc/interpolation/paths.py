"""Paths in parameter space. A path knows nothing of networks or data: it turns a position into a state dict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmc._errors import GridError, MismatchError, did_you_mean
from lmc._types import StateDict


class AbstractPath(ABC):
    """A curve from A (t = 0) to B (t = 1) in parameter space."""

    @abstractmethod
    def at(self, t: float) -> dict[str, Tensor]:
        """Return the state dict at a position, new tensors each time.

        Parameters
        ----------
        t : float, in [0, 1]
            0 gives A and 1 gives B, exactly.

        Raises
        ------
        GridError
            If ``t`` is outside [0, 1].
        """

    @property
    @abstractmethod
    def ends(self) -> tuple[StateDict, StateDict]:
        """The state dicts at t = 0 and t = 1."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What happens to every kind of tensor along the path, in one line: it ends in the results."""


@dataclass(frozen=True)
class LinearPath(AbstractPath):
    """The straight line between two state dicts.

    Every floating tensor, buffers included, is interpolated in the wider dtype of both ends and float32. Integers and
    booleans come from the nearer end, from A at t = 1/2. Tensors that share memory in both ends are one tensor on the
    path too.

    Parameters
    ----------
    a, b : state dict
        The ends: the same names and shapes, each on one device. They are never written to.

    Raises
    ------
    MismatchError
        If names, shapes, kinds or devices differ; the message lists where.
    """

    a: StateDict
    b: StateDict
    _first: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if wrong := _differences(self.a, self.b):
            more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise MismatchError(
                "A and B are not two points of one space:\n  " + "\n  ".join(wrong[:5]) + more + "\nA barrier needs "
                "equal names and shapes; permute or fuse networks of different widths first."
            )
        for name in ("a", "b"):
            detached = {key: value.detach() for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, detached)
        object.__setattr__(self, "_first", ties(self.a, self.b))

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The state dicts A and B, as they were given."""
        return self.a, self.b

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return "linear: floating parameters and buffers in float32 at least, integers from the nearer end (A at 1/2)"

    def at(self, t: float) -> dict[str, Tensor]:
        """Return (1 - t) A + t B; see :meth:`AbstractPath.at`."""
        check_position(t)
        state: dict[str, Tensor] = {}
        for name, first in self._first.items():
            state[name] = state[first] if first != name else _between(self.a[name], self.b[name], float(t))
        return state


def check_position(t: float) -> None:
    """Raise GridError unless a position lies on a path."""
    if not 0 <= t <= 1:
        raise GridError(f"A path runs over [0, 1], from A to B; t = {t!r} is not on it.")


def _between(a: Tensor, b: Tensor, t: float) -> Tensor:
    if not interpolates(a):
        return (a if t <= 0.5 else b).clone()
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    if t in (0, 1):
        return (b if t else a).to(dtype, copy=True)
    return torch.lerp(a.to(dtype), b.to(dtype), t)


def interpolates(tensor: Tensor) -> bool:
    """Say whether a tensor moves along paths; integers and booleans jump."""
    return tensor.is_floating_point() or tensor.is_complex()


def _differences(a: StateDict, b: StateDict) -> list[str]:
    """List what keeps two state dicts from lying in one space."""
    lines = [f"{name!r} is only in A.{did_you_mean(name, b)}" for name in a if name not in b]
    lines += [f"{name!r} is only in B.{did_you_mean(name, a)}" for name in b if name not in a]
    for name in a:
        if name not in b:
            continue
        x, y = a[name], b[name]
        if x.shape != y.shape:
            lines.append(f"{name!r} is {tuple(x.shape)} in A and {tuple(y.shape)} in B")
        elif interpolates(x) != interpolates(y):
            lines.append(f"{name!r} is {x.dtype} in A and {y.dtype} in B")
        elif x.device != y.device:
            lines.append(f"{name!r} is on {x.device} in A and on {y.device} in B")
    return lines


def ties(*points: StateDict) -> dict[str, str]:
    """Map every name to the first name that is the same memory in all points."""
    first: dict[Hashable, str] = {}
    return {name: first.setdefault(tuple(_memory(point[name]) for point in points), name) for name in points[0]}


def _memory(tensor: Tensor) -> Hashable:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
