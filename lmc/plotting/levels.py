"""Round levels for contours of a loss: logarithmic where it spans orders of magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

_SERIES = (
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0),
)
_FEWEST = 8  # levels
_STEEP = 3.0  # ratio of the largest to the smallest value, from which on levels are logarithmic


def contour_levels(values: NDArray[np.float64], floor: float = -np.inf) -> NDArray[np.float64]:
    """Return round levels that span the values: logarithmic where they are positive and spread, else even.

    Parameters
    ----------
    values : array
        Finite values count, the others do not.
    floor : float
        What is below counts as this much: the error of one example, below which a logarithm says nothing.
    """
    finite = np.maximum(values[np.isfinite(values)], floor)
    if not finite.size:
        return np.array([0.0, 1.0])
    low, high = float(finite.min()), float(finite.max())
    if low <= 0 or high < _STEEP * low:
        return np.asarray(MaxNLocator(_FEWEST + 2).tick_values(low, high if high > low else low + 1))
    found = [_round_levels(low, high, steps) for steps in _SERIES]
    return next((levels for levels in found if len(levels) >= _FEWEST), found[-1])


def _round_levels(low: float, high: float, steps: Sequence[float]) -> NDArray[np.float64]:
    """Return the round numbers from the last that is not above ``low`` to the first that is not below ``high``."""
    decades = range(int(np.floor(np.log10(low))), int(np.floor(np.log10(high))) + 2)
    rounds = np.array([float(f"{step}e{decade}") for decade in decades for step in steps])
    first = max(0, int(np.searchsorted(rounds, low, side="right")) - 1)
    last = int(np.searchsorted(rounds, high))
    return rounds[first : last + 1]
