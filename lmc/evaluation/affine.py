"""Points of parameter space that lie on a line or in a plane: what is linear in them is computed at two or three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Affine:
    r"""Points as affine combinations of a few of them.

    .. math:: v_p = v_{b_0} + \sum_k c_{pk} (v_{b_k} - v_{b_0})

    Parameters
    ----------
    basis : tuple of int
        Indices b of the points that span the rest.
    coordinates : float64 array, shape (points, len(basis) - 1)
        c; exactly 0 and 1 at the basis points themselves.
    """

    basis: tuple[int, ...]
    coordinates: NDArray[np.float64]


_LOOKED_AT = 2**12
"""Elements, evenly spaced, from which basis and coordinates are found; whether they hold is checked on all."""


def affine_span(points: Sequence[Sequence[Tensor]], most: int = 3) -> Affine | None:
    """Find a few points that span all of them, up to the rounding of their dtype.

    Parameters
    ----------
    points : sequence of sequences of Tensor
        Each point as its tensors (weight and bias of a layer), the same shapes and dtype for every one.
    most : int
        Points of the basis at most: 2 is a line, 3 a plane.

    Returns
    -------
    Affine, or None where it takes more points than that
    """
    rounding = max(4 * torch.finfo(points[0][0].dtype).eps, 1e-14)
    span = _span_of_sample(np.stack([_sample(point) for point in points]), most, rounding)
    return span if span is not None and _holds(points, span, rounding) else None


def _sample(point: Sequence[Tensor]) -> NDArray[np.float64]:
    flat = [tensor.detach().reshape(-1) for tensor in point]
    return torch.cat([part[:: -(-len(part) // _LOOKED_AT)] for part in flat]).to("cpu", torch.float64).numpy()


def _span_of_sample(vectors: NDArray[np.float64], most: int, rounding: float) -> Affine | None:
    """Take the first point, then whichever lies farthest from the span of those taken."""
    away = vectors - vectors[0]
    allowed = rounding * max(np.linalg.norm(vectors[0]), np.linalg.norm(vectors[-1]))
    basis, directions = [0], np.zeros((0, vectors.shape[1]))
    while (distances := np.linalg.norm(away, axis=1)).max() > allowed:
        if len(basis) == most:
            return None
        basis.append(int(distances.argmax()))
        directions = np.vstack([directions, away[basis[-1]] / distances.max()])
        away = away - np.outer(away @ directions[-1], directions[-1])
    along = (vectors - vectors[0]) @ directions.T
    coordinates = np.linalg.solve(along[basis[1:]].T, along.T).T if len(basis) > 1 else along
    coordinates[basis] = np.eye(len(basis))[:, 1:]
    return Affine(tuple(basis), coordinates)


def _holds(points: Sequence[Sequence[Tensor]], span: Affine, rounding: float) -> bool:
    """Say whether every tensor of every point is where its coordinates put it."""
    for number in range(len(points[0])):
        tensors = [point[number].detach() for point in points]
        corners = [tensors[k] for k in span.basis]
        allowed = rounding * max(float(torch.linalg.vector_norm(corner)) for corner in corners)
        for tensor, along in zip(tensors, span.coordinates, strict=True):
            if float(torch.linalg.vector_norm(combine(corners, along) - tensor)) > allowed:
                return False
    return True


def combine(corners: Sequence[Tensor], along: NDArray[np.float64]) -> Tensor:
    """Return the affine combination of the corners, exactly a corner where the coordinates are one; a new tensor."""
    origin, *others = corners
    if not others:
        return origin.clone()
    out = torch.lerp(origin, others[0], float(along[0]))
    for corner, c in zip(others[1:], along[1:], strict=True):
        out.add_(corner - origin, alpha=float(c))
    return out


class SharedLayer:
    """A layer that every point has with weights of its own, computed at the basis points once for each batch."""

    def __init__(self, corners: Sequence[nn.Module], coordinates: NDArray[np.float64]) -> None:
        self.corners, self.coordinates = corners, coordinates
        self._held: list[Tensor] = []

    def forget(self) -> None:
        """Begin another batch."""
        self._held = []

    def at(self, point: int, inputs: Tensor) -> Tensor:
        """Return what the layer gives at a point, a new tensor."""
        return combine(self._corner_outputs(inputs), self.coordinates[point])

    def stacked(self, points: slice, inputs: Tensor) -> Tensor:
        """Return what the layer gives at several points, shape (points, n, ...)."""
        origin, *others = self._corner_outputs(inputs)
        c = torch.as_tensor(self.coordinates[points], dtype=origin.dtype, device=origin.device)
        c = c.reshape(*c.shape, *[1] * origin.ndim)
        if not others:
            return origin.expand(len(c), *origin.shape).contiguous()
        out = torch.lerp(origin, others[0], c[:, 0])
        for k, held in enumerate(others[1:], 1):
            out.addcmul_(held - origin, c[:, k])
        return out

    def _corner_outputs(self, inputs: Tensor) -> list[Tensor]:
        if not self._held:
            self._held = [layer(inputs) for layer in self.corners]
        return self._held
