"""The look of the figures, in force only while one is made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmc._errors import unknown

STYLE = Path(__file__).with_name("lmc.mplstyle")

SIZES: Mapping[str, tuple[float, float]] = {"column": (3.4, 2.1), "page": (6.8, 2.3), "slide": (5.33, 2.6)}
"""Width and usual height in inches: a column, a page, half a 16:9 slide (shown at 2.5 times, 8 points become 20)."""

_TALLEST: Mapping[str, float] = {"column": 6.0, "page": 6.0, "slide": 3.0}


def figure_size(size: str, ratio: float) -> tuple[float, float]:
    """Return width and height of a figure whose height is a multiple of its width, as far as the size has room."""
    width = SIZES[size][0]
    return width, min(ratio * width, _TALLEST[size])


def house_style(size: str = "column") -> AbstractContextManager[None]:
    """Return a context with the style of this package on top of the user's; what it does not name stays theirs.

    Raises
    ------
    UsageError
        For a size that is not in `SIZES`.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    return matplotlib.style.context([STYLE, {"figure.figsize": SIZES[size]}])


def small_multiples(figure: Figure, count: int, most: int) -> tuple[list[Axes], int]:
    """Return axes of panels with the same limits, at most so many beside each other; and how many rows they take."""
    across = min(count, most)
    rows = -(-count // across)
    axes = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_visible(False)
    for last in axes[max(count - across, 0) : count]:
        last.tick_params(labelbottom=True)  # also where a spare one lies below
    return axes[:count], rows
