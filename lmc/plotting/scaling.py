"""The barrier against width, depth, training time, learning rate or any other coordinate of the pairs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, NullLocator

from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.scaling_points import Points, points_of
from lmc.plotting.style import SIZES, house_style, small_multiples

_STEEP_X, _STEEP_Y = 6.0, 10.0  # ratios of the largest to the smallest value, from which on an axis is logarithmic
_MOST_TICKS = 9
_COLUMNS = 54  # characters of a legend, in one column of a paper
_REFERENCE = {"color": "0.35", "linestyle": (0, (5, 3)), "linewidth": 0.7, "marker": "", "zorder": 1.5}


@dataclass(frozen=True)
class ScalingArtists(AbstractArtists):
    """A figure of barriers against a size, by panel (the value of ``by``, or ``""``) and alignment.

    Parameters
    ----------
    axes : mapping
        Panel to its axes.
    lines : mapping
        Panel and alignment to the line through the means over pairs.
    bars : mapping
        Panel and alignment to the pairs themselves: points, with the interval of each where the dataset has it.
    references : mapping
        Label to the lines of it, one a panel.
    legend : matplotlib.legend.Legend
    """

    axes: Mapping[str, Axes]
    lines: Mapping[tuple[str, str], Line2D]
    bars: Mapping[tuple[str, str], ErrorbarContainer]
    references: Mapping[str, Sequence[Line2D]]
    legend: Legend


def plot_scaling(
    dataset: xr.Dataset,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    x: str | None = None,
    by: str | None = None,
    metric: str = "loss",
    variable: str | None = None,
    baseline: str = "chord",
    log: str | None = None,
    horizontal: Mapping[str, float] | None = None,
    vertical: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    size: str = "column",
) -> ScalingArtists:
    """Draw barriers against a coordinate of the pairs: every pair as a point with its interval, a line through means.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``sweep`` with a coordinate such as ``width`` along ``pair``, or a study whose barriers have
        such a dim (docs/schema.md).
    ax : matplotlib Axes or sequence of Axes, optional
        Where to draw, one for each value of ``by``; by default a new figure in the style of this package.
    x : str, optional
        The coordinate; by default the one with most values.
    by : str, optional
        A second coordinate, with a panel for each of its values; by default another one that varies, where there is.
    metric : {"loss", "error"}
        Whose barrier.
    variable : str, optional
        Of a study: which variable, where it has several; by default the first of the metric.
    baseline : {"chord", "mean"}
        What barriers of a sweep are measured against.
    log : {"", "x", "y", "xy"}, optional
        Which axes are logarithmic; by default those whose values are positive and spread (six-fold, ten-fold).
    horizontal, vertical : mapping, optional
        Reference lines: label to barrier (a tolerance, a published value) or to a value of ``x``.
    labels : mapping, optional
        Alignment to what the legend calls it, where another word says more.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    ScalingArtists

    Raises
    ------
    SchemaError
        If the dataset is neither a sweep nor a study.
    UsageError
        For an unknown coordinate, metric or variable, and where nothing varies.
    """
    if log is not None and (set(log) - set("xy") or len(set(log)) != len(log)):
        raise unknown("log", log, ("", "x", "y", "xy"))
    points = points_of(dataset, x, by, metric, variable, baseline)
    given = None if ax is None else [ax] if isinstance(ax, Axes) else list(ax)
    panels = list(dict.fromkeys(points.panel))
    if given is not None and len(given) != len(panels):
        raise UsageError(f"There are {len(panels)} panels ({points.by}), ax has {len(given)}.")
    references = (horizontal or {}, vertical or {})
    named = {name: (labels or {}).get(name, name) for name in points.alignment}
    if given is not None:
        return _draw(
            dict(zip(panels, given, strict=True)), points, log, references, named, below=None, columns=_COLUMNS
        )
    with house_style(size):
        width, height = SIZES[size]
        figure = Figure()
        axes, down = small_multiples(figure, len(panels), 3 if size == "column" else 4)
        drawn = dict(zip(panels, axes, strict=True))
        columns = int(_COLUMNS * width / SIZES["column"][0])
        artists = _draw(drawn, points, log, references, named, below=figure, columns=columns)
        legend = artists.legend.get_window_extent().height / figure.dpi
        figure.set_size_inches(width, height * (0.5 + 0.5 * down) + legend)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _draw(
    axes: Mapping[str, Axes],
    points: Points,
    log: str | None,
    references: tuple[Mapping[str, float], Mapping[str, float]],
    named: Mapping[str, str],
    below: Figure | None,
    columns: int,
) -> ScalingArtists:
    lines, bars = {}, {}
    for panel, ax in axes.items():
        _scale(ax, points, log)
        for name in dict.fromkeys(points.alignment):
            here = points.of(panel, name)
            if here.x.size:
                lines[panel, name], bars[panel, name] = _series(ax, here, named[name])
        if panel:
            ax.set_title(f"{points.by} {panel}")
    drawn = _references(list(axes.values()), *references)
    first, *_ = axes.values()
    for ax in axes.values():
        grid = ax.get_subplotspec()
        if below is None or grid is None or grid.is_last_row():
            ax.set_xlabel(points.x_label)
        if below is None or grid is None or grid.is_first_col():
            ax.set_ylabel(textwrap.fill(points.y_label, 30))
    handles = [next(line for (_, known), line in lines.items() if known == name) for name in _names(lines)]
    handles += [found[0] for found in drawn.values()]
    title = textwrap.fill(points.words, columns)
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.08 if points.by else 1)}
    if below is None:
        legend = first.legend(handles=handles, title=title, alignment="left", **where)
    else:
        legend = below.legend(handles=handles, title=title, alignment="left", loc="outside upper left")
    figure = first.figure
    assert figure is not None
    return ScalingArtists(figure, dict(axes), lines, bars, drawn, legend)


def _names(lines: Mapping[tuple[str, str], Line2D]) -> list[str]:
    return list(dict.fromkeys(name for _, name in lines))


def _series(ax: Axes, here: Points, name: str) -> tuple[Line2D, ErrorbarContainer]:
    """Draw the pairs of one alignment and the line through their means."""
    places = np.unique(here.x)
    means = np.array([here.y[here.x == place].mean() for place in places])
    (line,) = ax.plot(places, means, label=name, zorder=3)
    single = len(places) == len(here.x)
    interval = None if here.bounds is None else np.abs(here.bounds - here.y[:, None]).T
    bars = ax.errorbar(
        here.x,
        here.y,
        yerr=interval,
        color=line.get_color(),
        linestyle="",
        marker="" if single else line.get_marker(),
        markersize=0.6 * line.get_markersize(),
        alpha=0.9 if single else 0.45,
        elinewidth=0.8,
        capsize=1.5,
        zorder=2.5,
    )
    return line, bars


def _scale(ax: Axes, points: Points, log: str | None) -> None:
    """Make axes logarithmic that are asked for or spread, and name the sizes that there are."""
    if "x" in log if log is not None else _spread(points.x, _STEEP_X):
        ax.set_xscale("log")
        places = np.unique(points.x).tolist()
        _plain_ticks(ax.xaxis, FixedLocator(places) if len(places) <= _MOST_TICKS else LogLocator(subs=(1, 2, 5)))
    elif _apart(places := np.unique(points.x)):
        ax.set_xticks(places)
    if "y" in log if log is not None else _spread(points.y, _STEEP_Y):
        ax.set_yscale("log", nonpositive="clip")
        _plain_ticks(ax.yaxis, LogLocator(subs=(1, 2, 5)))


def _plain_ticks(axis: Axis, locator: Locator) -> None:
    """Write numbers of a logarithmic axis as they are, not as powers."""
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _apart(places: np.ndarray) -> bool:
    """Say whether whole numbers can be named beside each other."""
    return bool((places == np.round(places)).all() and np.diff(places).min(initial=1) >= np.ptp(places) / 18)


def _spread(values: np.ndarray, steep: float) -> bool:
    return bool((values > 0).all() and values.max() >= steep * values.min())


def _references(
    axes: Sequence[Axes], horizontal: Mapping[str, float], vertical: Mapping[str, float]
) -> dict[str, list[Line2D]]:
    dotted = {**_REFERENCE, "linestyle": (0, (1, 2))}
    level = {label: [ax.axhline(y, label=label, **_REFERENCE) for ax in axes] for label, y in horizontal.items()}
    upright = {label: [ax.axvline(x, label=label, **dotted) for ax in axes] for label, x in vertical.items()}
    return level | upright
