"""Grids on a plane: every mode lies on the grid, exactly, and cells are as square as that allows."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from lmc._errors import GridError

MARGIN = 0.2
"""Room around several modes, as a share of the longer side of what they span."""


def make_plane_grid(
    modes: NDArray[np.float64], *, resolution: int = 25, margin: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the coordinates of a grid around some points of a plane.

    Between two neighbouring coordinates of modes, and between the outermost and the border, positions are equally
    spaced, as close to the wanted step as a whole number of them gets.

    Parameters
    ----------
    modes : float64 array, shape (mode, 2)
        Coordinates (u, v) that have to be on the grid.
    resolution : int
        Points along the longer side, about; the shorter gets as many as make square cells.
    margin : float, optional
        Room beyond the modes, as a share of the longer side of what they span: 0.2 by default. For a single mode, in
        units of the coordinates: 1 by default.

    Returns
    -------
    u, v : float64 arrays, shapes (u,) and (v,), increasing

    Raises
    ------
    GridError
        If the resolution is below 3, the margin is not positive, or one of them is not finite.
    """
    if resolution != int(resolution) or resolution < 3:
        raise GridError(f"A grid on a plane has 3 points a side or more, got a resolution of {resolution}.")
    low, high = modes.min(axis=0), modes.max(axis=0)
    span = float((high - low).max())
    room = (1.0 if span == 0 else MARGIN * span) if margin is None else margin * (span or 1.0)
    if not (np.isfinite(room) and room > 0):
        raise GridError(f"The margin is the room around the modes, more than 0 (0.2, say), not {margin}.")
    step = (span + 2 * room) / (int(resolution) - 1)
    u, v = (_axis(modes[:, k], low[k] - room, high[k] + room, step) for k in (0, 1))
    return u, v


def cell_areas(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area that each point of a grid stands for, shape (u, v): they add up to that of the grid.

    The share of a point reaches half-way to its neighbours, and ends at the border.
    """
    return np.outer(_widths(u), _widths(v))


def nodes_of(modes: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the indices of modes on a grid that they lie on, shape (mode, 2).

    Raises
    ------
    GridError
        If a mode is not on the grid.
    """
    for axis, positions, name in ((0, u, "u"), (1, v, "v")):
        missing = modes[~np.isin(modes[:, axis], positions)]
        if len(missing):
            raise GridError(f"The mode at {tuple(missing[0].tolist())} is not on the grid: add its {name}, exactly.")
    return np.stack([np.searchsorted(u, modes[:, 0]), np.searchsorted(v, modes[:, 1])], axis=-1)


def _axis(coordinates: NDArray[np.float64], low: float, high: float, step: float) -> NDArray[np.float64]:
    knots = np.unique(np.concatenate([[low], coordinates, [high]]))
    pieces = [
        np.linspace(start, stop, max(1, round(float(stop - start) / step)) + 1)[:-1]
        for start, stop in itertools.pairwise(knots)
    ]
    return np.concatenate([*pieces, knots[-1:]])


def _widths(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    middles = (positions[1:] + positions[:-1]) / 2
    return np.diff(np.concatenate([positions[:1], middles, positions[-1:]]))
