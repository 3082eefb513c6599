"""The arc between two networks: every parameter tensor turns, so that averaging does not shorten it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmc._errors import UsageError, did_you_mean
from lmc._types import StateDict
from lmc.interpolation.paths import AbstractPath, LinearPath, ties

_OPPOSITE = 1e-6  # rad from a half turn: no plane to turn in


@dataclass(frozen=True)
class SphericalPath(AbstractPath):
    r"""The path along which the direction of each parameter tensor turns evenly, and its length changes evenly.

    .. math:: w(t) = [(1 - t) |a| + t |b|] \; \frac{\sin((1 - t) \Omega) \hat a + \sin(t \Omega) \hat b}{\sin \Omega}

    for each tensor on its own, :math:`\Omega` being the angle between its ends and a hat its direction. A tensor that
    both ends share stays as it is. On the line instead move: whatever is not named (buffers: statistics of
    BatchNorm are no directions), tensors that are zero at one end, and those whose ends point in opposite directions,
    as single numbers of unequal sign do. Integers come from the nearer end.

    Parameters
    ----------
    a, b : state dict
        The ends: the same names and shapes. They are never written to.
    parameters : collection of str
        Names of the tensors that turn, such as ``dict(model.named_parameters())``; names tied to them follow.

    Raises
    ------
    UsageError
        If a name is no floating tensor of the ends.
    MismatchError
        If the ends differ in names, shapes, kinds or devices.

    References
    ----------
    .. [1] Shoemake. Animating Rotation with Quaternion Curves. SIGGRAPH 1985.
    """

    a: StateDict
    b: StateDict
    parameters: Collection[str]
    _line: LinearPath = field(init=False, repr=False, compare=False)
    _first: dict[str, str] = field(init=False, repr=False, compare=False)
    _turns: dict[str, _Turn] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        line = LinearPath(self.a, self.b)
        for name in self.parameters:
            if name not in line.a or not line.a[name].is_floating_point():
                raise UsageError(f"{name!r} is no floating tensor that could turn.{did_you_mean(name, line.a)}")
        first = ties(line.a, line.b)
        turning = {first[name] for name in self.parameters}
        found = {name: _Turn.between(line.a[name], line.b[name]) for name in line.a if name in turning}
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_first", first)
        object.__setattr__(self, "_turns", {name: turn for name, turn in found.items() if turn is not None})

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The state dicts A and B, as they were given."""
        return self._line.ends

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        turned, largest = len(self._turns), max((turn.angle for turn in self._turns.values()), default=0.0)
        return (
            f"spherical: {turned} parameter tensors each turn in direction, by {math.degrees(largest):.0f} degrees at "
            f"most, and move in length; the rest, buffers included, {self._line.description}"
        )

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the point at the share ``t`` of every angle; see :meth:`AbstractPath.at`."""
        state = self._line.at(t)
        if t in (0, 1):
            return state
        turned: dict[str, Tensor] = {}
        for name, first in self._first.items():
            if first in self._turns:
                if first not in turned:
                    u, v = self._turns[first].weights(t)
                    turned[first] = u * self._line.a[first].to(state[first]) + v * self._line.b[first].to(state[first])
                state[name] = turned[first]
        return state


@dataclass(frozen=True)
class _Turn:
    """How one tensor turns: its lengths at both ends, and the angle between them, in rad."""

    a: float
    b: float
    angle: float

    @classmethod
    def between(cls, a: Tensor, b: Tensor) -> _Turn | None:
        """Return the turn, or None where there is none: equal, zero or opposite ends."""
        x, y = a.to("cpu", torch.float64), b.to("cpu", torch.float64)
        lengths = float(x.norm()), float(y.norm())
        if 0 in lengths or torch.equal(x, y):
            return None
        x, y = x / lengths[0], y / lengths[1]
        angle = 2 * math.atan2(float((x - y).norm()), float((x + y).norm()))  # exact for small angles, unlike acos
        return cls(*lengths, angle) if math.pi - angle > _OPPOSITE and angle > 0 else None

    def weights(self, t: float) -> tuple[float, float]:
        """Return what A and B are multiplied with at a position."""
        length, sine = (1 - t) * self.a + t * self.b, math.sin(self.angle)
        return (
            length * math.sin((1 - t) * self.angle) / (sine * self.a),
            length * math.sin(t * self.angle) / (sine * self.b),
        )
