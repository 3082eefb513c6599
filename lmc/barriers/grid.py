"""Positions along a path. The ends and the midpoint are always among them, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmc._errors import GridError

_SNAP = 1e-9


def make_grid(points: int) -> NDArray[np.float64]:
    """Return equally spaced positions from 0 to 1, and the midpoint where it is not one of them.

    Parameters
    ----------
    points : int
        Number of equally spaced positions, at least 2; an even number gives one position more, 1/2.

    Returns
    -------
    array, shape (points,) or (points + 1,), increasing

    Raises
    ------
    GridError
        If there are fewer than 2 points.

    Examples
    --------
    >>> make_grid(4)
    array([0.        , 0.33333333, 0.5       , 0.66666667, 1.        ])
    """
    if points != int(points) or points < 2:
        raise GridError(f"A grid has 2 points or more, both ends being on it; got {points}.")
    return check_grid(np.linspace(0.0, 1.0, int(points)))


def check_grid(t: ArrayLike) -> NDArray[np.float64]:
    """Return a user's own positions in float64, with the midpoint added where it is missing.

    Parameters
    ----------
    t : array, shape (t,), in [0, 1]
        Increasing, with both ends; what lies within 1e-9 of 0, 1/2 or 1 is taken as that.

    Returns
    -------
    array, shape (t,) or (t + 1,)

    Raises
    ------
    GridError
        If an end is missing, or the positions are not finite, in one dimension and increasing.
    """
    grid = np.array(t, dtype=np.float64)
    if grid.ndim != 1 or grid.size < 2:
        raise GridError(f"A grid has one dimension and 2 points or more, got shape {grid.shape}.")
    for exact in (0.0, 0.5, 1.0):
        grid[np.abs(grid - exact) < _SNAP] = exact
    require_ends(grid)
    return grid if 0.5 in grid else np.insert(grid, np.searchsorted(grid, 0.5), 0.5)


def require_ends(t: NDArray[np.float64]) -> None:
    """Raise GridError unless the positions increase strictly from exactly 0 to exactly 1."""
    if not np.isfinite(t).all():
        raise GridError("The grid has positions that are not finite (NaN or infinite).")
    if (steps := np.diff(t)).size and steps.min() <= 0:
        at = int(steps.argmin())
        raise GridError(f"The grid must increase; position {at} is {t[at]:g} and the next is {t[at + 1]:g}.")
    if t.size < 2 or t[0] != 0 or t[-1] != 1:
        ends = f"from {t[0]:g} to {t[-1]:g}" if t.size else "without points"
        raise GridError(f"The grid goes {ends}; a barrier is measured against both ends, so 0 and 1 must be on it.")
