"""Curves through several points: polygonal chains, Bezier curves, and the great circle between two."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._errors import GridError, UsageError
from lmc._types import StateDict
from lmc.interpolation.paths import AbstractPath, LinearPath


@dataclass(frozen=True)
class AbstractCurve(AbstractPath):
    """A curve whose points are weighted sums of its bends, the first of which is A and the last B.

    Parameters
    ----------
    bends : sequence of state dicts
        Two or more of one space. Floating tensors are summed in float32 at least; integers come from the bend that
        weighs most.

    Raises
    ------
    UsageError
        If there are fewer than two.
    MismatchError
        If they differ in names or shapes.
    """

    bends: Sequence[StateDict]
    _pairs: tuple[LinearPath, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.bends) < 2:
            raise UsageError(f"A curve has two bends or more, its ends; got {len(self.bends)}.")
        object.__setattr__(self, "bends", tuple(self.bends))
        object.__setattr__(self, "_pairs", tuple(LinearPath(self.bends[0], bend) for bend in self.bends[1:]))

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The first and the last bend."""
        return self.bends[0], self.bends[-1]

    @classmethod
    @abstractmethod
    def weights(cls, t: float, bends: int) -> NDArray[np.float64]:
        """Return the weight of each bend at a position, shape (bends,), summing to 1."""

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the weighted sum of the bends; see :meth:`AbstractPath.at`."""
        if not 0 <= t <= 1:
            raise GridError(f"A path runs over [0, 1], from A to B; t = {t!r} is not on it.")
        weights = self.weights(float(t), len(self.bends))
        nearest = int(weights.argmax())
        if weights[nearest] == 1:
            return LinearPath(self.bends[nearest], self.bends[nearest]).at(0.0)
        state = LinearPath(self.bends[nearest], self.bends[nearest]).at(0.0)
        ties = {name: path for name, path in self._first_names().items() if name != path}
        for name, tensor in state.items():
            if tensor.is_floating_point() and name not in ties:
                parts = zip(weights, self.bends, strict=True)
                state[name] = sum((w * bend[name].to(tensor.dtype) for w, bend in parts if w), torch.zeros_like(tensor))
        return state | {name: state[first] for name, first in ties.items()}

    def _first_names(self) -> dict[str, str]:
        """Map every name to the first one that is tied to it in every bend."""
        found = dict(self._pairs[0]._first)
        for path in self._pairs[1:]:
            found = {name: first if path._first[name] == first else name for name, first in found.items()}
        return found


@dataclass(frozen=True)
class PolygonalPath(AbstractCurve):
    """Straight from bend to bend, each segment an equal share of [0, 1].

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, section 3.1.
    """

    @classmethod
    def weights(cls, t: float, bends: int) -> NDArray[np.float64]:
        """Return the hat functions at ``t``."""
        return np.maximum(0.0, 1.0 - np.abs(t * (bends - 1) - np.arange(bends)))

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return f"polygonal chain of {len(self.bends)} bends; integers from the nearest bend"


@dataclass(frozen=True)
class BezierPath(AbstractCurve):
    """The Bezier curve of the bends, quadratic for three of them.

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, section 3.1.
    """

    @classmethod
    def weights(cls, t: float, bends: int) -> NDArray[np.float64]:
        """Return the Bernstein polynomials at ``t``."""
        n = bends - 1
        return np.array([math.comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(bends)])

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return f"Bezier curve of {len(self.bends)} bends; integers from the bend that weighs most"


CURVES: dict[str, type[AbstractCurve]] = {"bezier": BezierPath, "polygonal": PolygonalPath}
"""What ``--kind`` calls them."""


@dataclass(frozen=True)
class SphericalPath(AbstractPath):
    """The arc between two state dicts: one angle for all parameters, norms interpolated along it.

    Buffers and integers move as on :class:`LinearPath`, which it also is where both ends are parallel.

    Parameters
    ----------
    a, b : state dict
        The ends.
    parameters : collection of str, optional
        Names that turn; by default every floating tensor but the statistics of normalisation layers.
    """

    a: StateDict
    b: StateDict
    parameters: frozenset[str] | None = None
    _line: LinearPath = field(init=False, repr=False, compare=False)
    _angle: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        line = LinearPath(self.a, self.b)
        names = self.parameters
        if names is None:
            names = frozenset(n for n, x in self.a.items() if x.is_floating_point() and ".running_" not in f".{n}")
        flat = [torch.cat([end[n].detach().double().reshape(-1) for n in sorted(names)]) for end in line.ends]
        cosine = float(torch.nn.functional.cosine_similarity(*flat, dim=0))
        for name, value in (("parameters", names), ("_line", line), ("_angle", math.acos(max(-1.0, min(1.0, cosine))))):
            object.__setattr__(self, name, value)

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The state dicts A and B, as they were given."""
        return self._line.ends

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return f"spherical: parameters turn by {self._angle:.3f} rad together; the rest as on the line"

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the point at the share ``t`` of the angle; see :meth:`AbstractPath.at`."""
        state = self._line.at(t)
        sine = math.sin(self._angle)
        if t in (0, 1) or abs(sine) < 1e-6:
            return state
        u, v = math.sin((1 - t) * self._angle) / sine, math.sin(t * self._angle) / sine
        for name in self.parameters or ():
            state[name] = u * self.a[name].detach().to(state[name].dtype) + v * self.b[name].detach()
        return state


def move_only(a: StateDict, b: StateDict, parts: Sequence[str]) -> dict[str, Tensor]:
    """Return A with the tensors of some modules taken from B: the end of a layer-wise path.

    Parameters
    ----------
    a, b : state dict
        Two points of one space.
    parts : sequence of str
        Names of tensors, or of modules that hold them (``layer3``, ``layer3.0.conv1``).

    Raises
    ------
    UsageError
        If a part is none.

    References
    ----------
    .. [1] Adilova et al. Layer-wise Linear Mode Connectivity. ICLR 2024.
    """
    for part in parts:
        if not any(name == part or name.startswith(f"{part}.") for name in a):
            outer = sorted({name.partition(".")[0] for name in a})
            raise UsageError(f"There is no module or tensor {part!r}. Among them: {', '.join(outer[:12])}.")
    return {
        name: b[name] if any(name == part or name.startswith(f"{part}.") for part in parts) else tensor
        for name, tensor in a.items()
    }
