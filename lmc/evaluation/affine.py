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
    origin = _flat(points[0])
    rounding = max(4 * torch.finfo(points[0][0].dtype).eps, 1e-14)  # the second is that of this function itself
    allowed = rounding * max(float(_flat(point).norm()) for point in (points[0], points[-1]))
    basis, directions = [0], []
    coordinates = np.zeros((len(points), 0))
    while True:
        found = [_measure(_flat(point) - origin, directions)[:2] for point in points]
        coordinates = np.array([along for along, _ in found]).reshape(len(points), len(directions))
        away = np.array([rest for _, rest in found])
        if away.max() <= allowed:
            break
        if len(basis) == most or int(away.argmax()) in basis:
            return None
        basis.append(int(away.argmax()))
        residual = _measure(_flat(points[basis[-1]]) - origin, directions)[2]
        directions.append(residual / residual.norm())
    corners = coordinates[basis[1:]]
    solved = np.linalg.solve(corners.T, coordinates.T).T if len(corners) else coordinates
    solved[basis] = np.eye(len(basis))[:, 1:]
    return Affine(tuple(basis), solved)


class SharedLayer:
    """A layer that every point has with weights of its own, computed at the basis points once for each batch."""

    def __init__(self, layers: Sequence[nn.Module], span: Affine) -> None:
        self.layers = [layers[k] for k in span.basis]
        self.coordinates = span.coordinates
        self._held: list[Tensor] = []

    def forget(self) -> None:
        """Begin another batch."""
        self._held = []

    def at(self, point: int, inputs: Tensor) -> Tensor:
        """Return what the layer gives at a point, a new tensor."""
        if not self._held:
            self._held = [layer(inputs) for layer in self.layers]
        origin, *others = self._held
        if not others:
            return origin.clone()
        out = torch.lerp(origin, others[0], float(self.coordinates[point, 0]))
        for held, c in zip(others[1:], self.coordinates[point, 1:], strict=True):
            out.add_(held - origin, alpha=float(c))
        return out

    def stacked(self, inputs: Tensor) -> Tensor:
        """Return what the layer gives at every point, shape (points, n, ...)."""
        origin, *others = [layer(inputs) for layer in self.layers]
        c = torch.as_tensor(self.coordinates, dtype=origin.dtype, device=origin.device)
        c = c.reshape(*c.shape, *[1] * origin.ndim)
        if not others:
            return origin.expand(len(c), *origin.shape).contiguous()
        out = torch.lerp(origin, others[0], c[:, 0])
        for k, held in enumerate(others[1:], 1):
            out.addcmul_(held - origin, c[:, k])
        return out


class AtPoint(nn.Module):
    """Stands in one point's network for a layer that all points share."""

    def __init__(self, shared: SharedLayer, point: int) -> None:
        super().__init__()
        self.shared, self.point = shared, point

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output at this point."""
        return self.shared.at(self.point, inputs)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).to("cpu", torch.float64) for tensor in tensors])


def _measure(vector: Tensor, directions: Sequence[Tensor]) -> tuple[list[float], float, Tensor]:
    """Return the coordinates along orthonormal directions, how much is left, and what."""
    along = []
    for direction in directions:
        along.append(float(vector @ direction))
        vector = vector - along[-1] * direction
    return along, float(vector.norm()), vector
