"""Sublevel sets on a grid: which points hang together below a level, and how high one must climb between two.

Neighbours are the 4 along the axes by default. Two such neighbours below a level have the whole edge between them below
it in the linear interpolation of the grid, so that components are those that contour lines enclose; with 8, diagonals
count too, and a path may slip between two high points. Heights are those of grid points: what lies between them is not
seen, and a valley that is narrower than a cell can be missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lmc._errors import GridError, UsageError

_FORWARD = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}
"""Half of the neighbours' offsets: an edge is found from its first point."""


def saddle_heights(values: ArrayLike, nodes: ArrayLike, *, neighbours: int = 4) -> NDArray[np.float64]:
    r"""Least height that a path along the grid has to reach between every two of some points.

    .. math:: S_{pq} = \min_{\gamma: p \to q} \; \max_{x \in \gamma} \; L(x)

    Points are joined in the order of their values (Kruskal's algorithm with union-find): two of them hang together
    from the value on whose arrival joins their components.

    Parameters
    ----------
    values : array, shape (u, v)
        Loss (in nats) or error at each point of the grid.
    nodes : int array, shape (mode, 2)
        Indices of the points.
    neighbours : {4, 8}
        Whether a path may also go along diagonals (8).

    Returns
    -------
    float64 array, shape (mode, mode), symmetric
        In the units of the values; on the diagonal the point's own value.

    Raises
    ------
    GridError
        If a value is not finite, or a point is not on the grid.
    """
    field, points = _checked(values, neighbours), _on_grid(nodes, np.shape(values))
    return _Sweep(field.shape, neighbours).heights(field.ravel(), points)


def resampled_saddles(
    values: NDArray[np.float64], nodes: ArrayLike, shape: tuple[int, int], *, neighbours: int = 4
) -> NDArray[np.float64]:
    """Return the saddle heights of many fields on one grid, shape (resample, mode, mode).

    Parameters
    ----------
    values : float64 array, shape (resample, u * v)
        A field each row.
    nodes, neighbours
        As in :func:`saddle_heights`.
    shape : (int, int)
        The grid.
    """
    points, sweep = _on_grid(nodes, shape), _Sweep(shape, neighbours)
    return np.stack([sweep.heights(row, points) for row in values])


def components(values: ArrayLike, level: float, *, neighbours: int = 4) -> NDArray[np.int32]:
    """Label the connected components of the sublevel set ``values <= level``.

    Parameters
    ----------
    values : array, shape (u, v)
        Loss or error at each point of the grid.
    level : float
        In the units of the values.
    neighbours : {4, 8}
        Whether points touch along diagonals too (8).

    Returns
    -------
    int32 array, shape (u, v)
        0 above the level, else the number of the component, from 1.

    Raises
    ------
    GridError
        If a value is not finite.
    """
    field = _checked(values, neighbours)
    touching = ndimage.generate_binary_structure(2, 1 if neighbours == 4 else 2)
    labels = np.zeros(field.shape, dtype=np.int32)
    ndimage.label(field <= level, structure=touching, output=labels)
    return labels


def escape_height(values: ArrayLike, node: Sequence[int], *, neighbours: int = 4) -> float:
    """Return the least height at which a point hangs together with the border of the grid.

    Below it the component of the point lies inside the grid as a whole; from it on, its area is a lower bound.
    """
    field = _checked(values, neighbours)
    (point,) = _on_grid([node], field.shape)
    framed = np.pad(field, 1, constant_values=-np.inf)  # a rim below everything joins all of the border
    where = [[point[0] + 1, point[1] + 1], [0, 0]]
    return float(_Sweep(framed.shape, neighbours).heights(framed.ravel(), np.array(where))[0, 1])


class _Sweep:
    """Union-find over the points of one grid, ready for many fields."""

    def __init__(self, shape: tuple[int, ...], neighbours: int) -> None:
        self.shape = shape
        self.around = _neighbours(shape, neighbours)

    def heights(self, values: NDArray[np.float64], nodes: NDArray[Any]) -> NDArray[np.float64]:
        """Return the heights at which each two nodes come together."""
        found = np.full((len(nodes), len(nodes)), np.nan)
        at = np.ravel_multi_index((nodes[:, 0], nodes[:, 1]), self.shape)
        members: dict[int, list[int]] = {}
        for mode, point in enumerate(at.tolist()):
            members.setdefault(point, []).append(mode)
        parent = list(range(len(values)))
        arrived = [False] * len(values)
        height = values.tolist()
        waiting = len(nodes)
        for point in np.argsort(values, kind="stable").tolist():
            arrived[point] = True
            if point in members:
                _join(found, members[point], members[point], height[point])
                waiting -= len(members[point])
            root = point
            for other in self.around[point]:
                if arrived[other] and (top := _root(parent, other)) != root:
                    parent[top] = root
                    if top in members:
                        mine = members.get(root, [])
                        _join(found, mine, members[top], height[point])
                        members[root] = mine + members.pop(top)
            if not waiting and len(members) == 1:
                break
        return found


def _root(parent: list[int], point: int) -> int:
    while parent[point] != point:
        parent[point] = parent[parent[point]]
        point = parent[point]
    return point


def _join(found: NDArray[np.float64], some: list[int], others: list[int], height: float) -> None:
    for i in some:
        for j in others:
            found[i, j] = found[j, i] = height


def _neighbours(shape: tuple[int, ...], neighbours: int) -> list[list[int]]:
    """Return the neighbours of every point of a grid, by flat index."""
    found: list[list[int]] = [[] for _ in range(shape[0] * shape[1])]
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    for down, right in _FORWARD[neighbours]:
        first = index[: shape[0] - down, max(0, -right) : shape[1] - max(0, right)]
        second = index[down:, max(0, right) : shape[1] - max(0, -right)]
        for one, other in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            found[one].append(other)
            found[other].append(one)
    return found


def _checked(values: ArrayLike, neighbours: int) -> NDArray[np.float64]:
    field = np.asarray(values, dtype=np.float64)
    if neighbours not in _FORWARD:
        raise UsageError(f"A grid point has 4 or 8 neighbours, not {neighbours!r}.")
    if field.ndim != 2 or field.size == 0:
        raise GridError(f"A field on a plane has two dimensions and a point, got shape {field.shape}.")
    if not np.isfinite(field).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(field))[0])
        raise GridError(f"The field is not finite everywhere ({field[bad]} at {bad}): it has no saddles or components.")
    return field


def _on_grid(nodes: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    points = np.asarray(nodes, dtype=np.int64).reshape(-1, 2)
    outside = (points < 0) | (points >= np.array(shape))
    if outside.any():
        raise GridError(f"Point {tuple(points[outside.any(axis=1)][0].tolist())} is not on a grid of shape {shape}.")
    return points
