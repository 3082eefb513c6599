"""A zoomed inset for lines of a barrier figure that crowd beside a far higher one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

_CROWDED = 0.2  # of the height of the axes, that crowded lines share
_ROOM = 0.3  # of it, at least, for the inset
_ASIDE = 0.07  # of it, between the inset and lines or frame
_LEFT, _WIDTH = 0.34, 0.32  # of the width: inside of the arch that a high barrier makes


@dataclass(frozen=True)
class Place:
    """Where an inset goes, in fractions of the axes, and what it shows, in values of the vertical axis."""

    bottom: float
    height: float
    lowest: float
    highest: float
    crowd: tuple[int, ...]


def place_of(curves: NDArray[np.float64], t: NDArray[np.float64], limits: tuple[float, float]) -> Place | None:
    """Find out whether lines crowd, and where there is room to show them larger.

    Parameters
    ----------
    curves : array, shape (lines, positions)
        The lines as they are drawn.
    t : array, shape (positions,)
    limits : tuple of float
        The values between which the vertical axis runs.

    Returns
    -------
    Place or None
        None where fewer than two lines crowd, no other is far from them, or nothing is free between the two.
    """
    finite = np.flatnonzero(np.isfinite(curves).all(axis=1))
    known = curves[finite]
    low, high = limits
    if len(known) < 3 or not high > low:
        return None
    span = high - low
    lowest, highest = known.min(axis=1), known.max(axis=1)
    for turn in (1, -1):  # the crowd at the bottom, as of losses; at the top, as of accuracies
        reach = (highest - low) / span if turn == 1 else (high - lowest) / span
        crowd = reach < _CROWDED
        if crowd.sum() < 2 or crowd.all():
            continue
        inside = (t >= _LEFT - _ASIDE) & (t <= _LEFT + _WIDTH + _ASIDE)
        far = known[~crowd][:, inside]
        if not far.size:
            return None
        edge = float(reach[crowd].max()) + _ASIDE
        limit = float(((far.min() - low) if turn == 1 else (high - far.max())) / span) - _ASIDE
        if limit - edge < _ROOM:
            continue
        height = limit - edge
        bottom = edge if turn == 1 else 1 - edge - height
        shown = known[crowd]
        return Place(bottom, height, float(shown.min()), float(shown.max()), tuple(finite[crowd].tolist()))
    return None


def add_inset(ax: Axes, place: Place, lines: Sequence[Line2D]) -> Axes:
    """Draw lines again, larger, and mark where that is."""
    margin = 0.08 * (place.highest - place.lowest) or 1e-6
    inset = ax.inset_axes((_LEFT, place.bottom, _WIDTH, place.height), zorder=3.5)
    for line in lines:
        look: dict[str, Any] = {
            name: getattr(line, f"get_{name}")() for name in ("color", "linestyle", "marker", "markevery")
        }
        look |= {"linewidth": 0.8 * line.get_linewidth(), "markersize": 0.6 * line.get_markersize()}
        x, y = line.get_data()
        inset.plot(x, y, **look)
    inset.set(xlim=(-0.03, 1.03), ylim=(place.lowest - margin, place.highest + margin))
    inset.tick_params(labelsize="xx-small", pad=1.5, length=1.5)
    inset.set_xticks([0, 0.5, 1])
    inset.grid(False)
    inset.spines[:].set_visible(True)
    inset.spines[:].set_color("0.5")
    mark = ax.indicate_inset_zoom(inset, edgecolor="0.5", linewidth=0.6)
    for connector in mark.connectors or ():
        connector.set_visible(False)  # they would cross the lines
    return inset
