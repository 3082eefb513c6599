"""Curves through several points of parameter space: polygonal chains and Bezier curves."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._errors import MismatchError, UsageError
from lmc._types import StateDict
from lmc.interpolation.paths import AbstractPath, LinearPath, check_position, interpolates, ties


@dataclass(frozen=True)
class AbstractCurve(AbstractPath):
    """A curve whose points are weighted sums of its bends, the first of which is A and the last B.

    Every floating tensor, buffers included, is summed in the widest dtype of the bends and float32; one that is equal
    in all bends stays exactly what it is. Integers and booleans come from the bend that weighs most, the earlier of two
    that weigh the same. Tensors that share memory in all bends are one tensor on the curve too.

    Parameters
    ----------
    bends : sequence of state dicts
        Two or more of one space: the same names and shapes, each on one device. They are never written to.

    Raises
    ------
    UsageError
        If there are fewer than two.
    MismatchError
        If they differ in names, shapes, kinds or devices.
    """

    bends: Sequence[StateDict]
    _first: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.bends) < 2:
            raise UsageError(f"A curve has two bends or more, its ends among them; got {len(self.bends)}.")
        for k, bend in enumerate(self.bends):
            try:
                LinearPath(self.bends[0], bend)
            except MismatchError as error:
                raise MismatchError(f"Bend 0 (A below) and bend {k} (B below): {error}") from error
        detached = tuple({name: value.detach() for name, value in bend.items()} for bend in self.bends)
        object.__setattr__(self, "bends", detached)
        object.__setattr__(self, "_first", ties(*detached))

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The first and the last bend, as they were given."""
        return self.bends[0], self.bends[-1]

    @classmethod
    @abstractmethod
    def weights(cls, t: float, bends: int) -> NDArray[np.float64]:
        """Return the weight of each bend at a position, shape (bends,), summing to 1; exactly 1 at the ends."""

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the weighted sum of the bends; see :meth:`AbstractPath.at`."""
        check_position(t)
        weights = self.weights(float(t), len(self.bends)).tolist()
        state: dict[str, Tensor] = {}
        for name, first in self._first.items():
            tensors = [bend[name] for bend in self.bends]
            state[name] = state[first] if first != name else _weighted(tensors, weights)
        return state


def _weighted(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    heaviest = weights.index(max(weights))
    if not interpolates(tensors[0]):
        return tensors[heaviest].clone()
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    base = tensors[heaviest].to(dtype)
    total = base.clone()
    for tensor, weight in zip(tensors, weights, strict=True):
        if weight and tensor is not tensors[heaviest] and weights[heaviest] != 1:
            total += weight * (tensor.to(dtype) - base)  # differences keep what is equal everywhere exact
    return total


@dataclass(frozen=True)
class PolygonalPath(AbstractCurve):
    """Straight from bend to bend, each segment an equal share of [0, 1].

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, section 3.2.
    """

    @classmethod
    def weights(cls, t: float, bends: int) -> NDArray[np.float64]:
        """Return the hat functions at ``t``."""
        return np.maximum(0.0, 1.0 - np.abs(t * (bends - 1) - np.arange(bends)))

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return (
            f"polygonal chain of {len(self.bends)} bends: floating parameters and buffers in float32 at least, "
            "integers from the nearest bend"
        )


@dataclass(frozen=True)
class BezierPath(AbstractCurve):
    r"""The Bezier curve of the bends, quadratic for three of them.

    .. math:: \phi(t) = \sum_k \binom{n}{k} t^k (1 - t)^{n - k} w_k

    with bends :math:`w_0 = A, \dots, w_n = B`. It touches no bend but the ends.

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, section 3.2.
    """

    @classmethod
    def weights(cls, t: float, bends: int) -> NDArray[np.float64]:
        """Return the Bernstein polynomials at ``t``."""
        n = bends - 1
        return np.array([math.comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(bends)])

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return (
            f"Bezier curve of {len(self.bends)} bends: floating parameters and buffers in float32 at least, "
            "integers from the bend that weighs most"
        )


CURVES: dict[str, type[AbstractCurve]] = {"bezier": BezierPath, "polygonal": PolygonalPath}
"""What ``--kind`` calls them."""
