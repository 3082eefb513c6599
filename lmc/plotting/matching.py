"""The matching figure: how alike units are before and after alignment, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.groups import check_alignment, units_of
from lmc.plotting.style import SIZES, house_style

MEASURES: Mapping[str, str] = {"similarity": "cosine of weights", "correlation": "correlation of activations"}
"""What is drawn: prefix of the variables to the label of the axis."""

_QUANTILES = (0.05, 0.5, 0.95)
_ROW = 0.2  # inches
_LOOK: Mapping[str, dict[str, Any]] = {
    "before": {"color": "#E69F00", "marker": "o", "markerfacecolor": "white", "markeredgewidth": 0.9, "linestyle": ":"},
    "after": {"color": "#0072B2", "marker": "s", "markeredgewidth": 0.0, "linestyle": "-"},
}
_ASIDE = {"before": -0.16, "after": 0.16}  # rows: before stands above


@dataclass(frozen=True)
class MatchingPanel:
    """The artists of one measure, by group and by ``before`` or ``after``: spans over units, and medians."""

    axes: Axes
    spans: Mapping[tuple[str, str], Line2D]
    medians: Mapping[tuple[str, str], Line2D]


@dataclass(frozen=True)
class MatchingArtists(AbstractArtists):
    """A matching figure and everything in it: a panel for each measure."""

    panels: Mapping[str, MatchingPanel]
    legend: Legend


def plot_matching(
    dataset: xr.Dataset,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    measure: str | None = None,
    groups: Sequence[str] | None = None,
    size: str = "column",
) -> MatchingArtists:
    """Draw how alike the units of A and B are before and after alignment: the median of each group, and its spread.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``alignment`` (docs/schema.md).
    ax : matplotlib Axes or sequence of Axes, optional
        Where to draw, one for each measure; by default a new figure in the style of this package.
    measure : {"similarity", "correlation"}, optional
        Cosine of the units' weights, or correlation of their activations; by default both where the dataset has them.
    groups : sequence of str, optional
        Which permutation groups, in this order from the top; all by default.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`): panels one above the other in a column, else side by side.

    Returns
    -------
    MatchingArtists

    Raises
    ------
    SchemaError
        If the dataset is no alignment result.
    UsageError
        For an unknown group or measure, or one that the dataset does not have; for a wrong number of axes.
    """
    check_alignment(dataset, "plot_matching")
    given = None if ax is None else [ax] if isinstance(ax, Axes) else list(ax)
    measures = _measures(dataset, measure, None if given is None else len(given))
    names = list(units_of(dataset, groups))
    if given is not None:
        return _draw(dataset, dict(zip(measures, given, strict=True)), names)
    with house_style(size):
        rows, columns = (len(measures), 1) if size == "column" else (1, len(measures))
        width = SIZES[size][0] * (1.0 if columns > 1 or size == "column" else 0.5)
        figure = Figure(figsize=(width, 0.35 + rows * (0.5 + _ROW * len(names))))
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        artists = _draw(dataset, dict(zip(measures, axes, strict=True)), names)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _measures(dataset: xr.Dataset, measure: str | None, room: int | None) -> list[str]:
    if measure is not None and measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    held = [name for name in MEASURES if f"{name}_after" in dataset]
    if measure is not None and measure not in held:
        raise UsageError("The dataset holds no correlations: lmc align --data ... --result writes them.")
    chosen = [measure] if measure is not None else held[:1] if room == 1 else held
    if room not in (None, len(chosen)):
        raise UsageError(f"{len(chosen)} measures need as many axes, ax has {room}.")
    return chosen


def _draw(dataset: xr.Dataset, axes: Mapping[str, Axes], names: Sequence[str]) -> MatchingArtists:
    panels = {measure: _panel(one, dataset, measure, names) for measure, one in axes.items()}
    first = next(iter(axes.values()))
    handles = [
        Line2D([], [], linewidth=1.2, markersize=3.5, label=f"{when} alignment", **_LOOK[when]) for when in _LOOK
    ]
    legend = first.legend(
        handles=handles, title="median and 5 to 95% of units", ncols=2, loc="lower left", bbox_to_anchor=(0, 1)
    )
    legend.set_alignment("left")
    return MatchingArtists(first.figure, panels, legend)


def _panel(ax: Axes, dataset: xr.Dataset, measure: str, names: Sequence[str]) -> MatchingPanel:
    spans, medians = {}, {}
    units = units_of(dataset, names)
    for row, name in enumerate(names):
        for when, look in _LOOK.items():
            values = dataset[f"{measure}_{when}"].values[units[name]]
            values = values[np.isfinite(values)]
            if not values.size:
                continue
            low, middle, high = np.quantile(values, _QUANTILES)
            height = row + _ASIDE[when]
            line = {key: look[key] for key in ("color", "linestyle")}
            (spans[name, when],) = ax.plot([low, high], [height] * 2, linewidth=1.2, **line, marker="", zorder=2)
            mark = {key: look[key] for key in look if key != "linestyle"}
            (medians[name, when],) = ax.plot([middle], [height], linestyle="", **mark, zorder=3)
    ax.set_yticks(range(len(names)), labels=list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(MEASURES[measure])
    ax.axvline(0, color="0.8", linewidth=0.7, marker="", zorder=0)
    return MatchingPanel(ax, spans, medians)
