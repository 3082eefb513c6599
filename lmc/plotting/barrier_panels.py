"""Small multiples of the barrier figure: a panel for each pair, width, epoch or any coordinate of the pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from lmc import schema
from lmc._errors import SchemaError, UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.barrier import METRICS, curves_of, label_of_curves
from lmc.plotting.pair_matrix import short_names
from lmc.plotting.results import check_dataset, label_of
from lmc.plotting.scaling_points import varying
from lmc.plotting.style import SIZES, house_style, small_multiples

_MOST_PANELS = 16
_ACROSS = {"column": 2, "page": 4, "slide": 4}
_MARKERS = 6  # on a line, at most
_CHORD = {"color": "0.35", "linestyle": (0, (5, 3)), "linewidth": 0.6, "marker": "", "zorder": 2.5}


@dataclass(frozen=True)
class PanelsArtists(AbstractArtists):
    """Small multiples of the barrier figure; lines by panel and alignment, those of single pairs beside the mean's."""

    axes: Mapping[str, Axes]
    lines: Mapping[tuple[str, str], Line2D]
    pairs: Mapping[tuple[str, str], Sequence[Line2D]]
    bands: Mapping[tuple[str, str], PolyCollection]
    legend: Legend


def plot_barrier_panels(
    dataset: xr.Dataset,
    *,
    ax: Sequence[Axes] | None = None,
    over: str | None = None,
    metric: str = "loss",
    size: str = "page",
) -> PanelsArtists:
    """Draw the paths of several pairs, a panel for each pair or for each value of one of their coordinates.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``sweep``, or results of kind ``barrier`` stacked along ``pair`` (docs/schema.md).
    ax : sequence of matplotlib Axes, optional
        Where to draw, one for each panel; by default a new figure in the style of this package.
    over : str, optional
        What has a panel for each value: ``pair``, or a coordinate such as ``width`` or ``epoch``; by default the
        coordinate with most values, else the pair. Pairs in one panel are thin lines below the line of their mean.
    metric : {"loss", "accuracy", "error"}
        What to draw. The axis is the same in all panels.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    PanelsArtists
        Bands are the intervals of panels with one pair.

    Raises
    ------
    SchemaError
        If the dataset is of another kind.
    UsageError
        For an unknown metric or coordinate, and for more panels than fit.
    """
    groups, title = _groups(dataset, over, metric)
    given = None if ax is None else list(ax)
    if given is not None and len(given) != len(groups):
        raise UsageError(f"There are {len(groups)} panels ({title}), ax has {len(given)}.")
    if given is not None:
        return _draw(dataset, dict(zip(groups, given, strict=True)), groups, metric, below=None)
    with house_style(size):
        figure = Figure()
        axes, down = small_multiples(figure, len(groups), _ACROSS[size])
        artists = _draw(dataset, dict(zip(groups, axes, strict=True)), groups, metric, below=figure)
        width = SIZES[size][0]
        legend = artists.legend.get_window_extent().height / figure.dpi
        figure.set_size_inches(width, 0.35 + down * (0.8 * width / _ACROSS[size] + 0.25) + legend)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _groups(dataset: xr.Dataset, over: str | None, metric: str) -> tuple[dict[str, np.ndarray], str]:
    """Return, by the title of its panel, which pairs are in it; and what the panels are of."""
    check_dataset(dataset, "plot_barrier_panels")
    schema.validate(dataset)
    if dataset.attrs["lmc_kind"] not in ("barrier", "sweep"):
        raise SchemaError(f"A sweep, or stacked barriers, are needed; this is of kind {dataset.attrs['lmc_kind']!r}.")
    if "pair" not in dataset.dims:
        raise UsageError("The dataset holds one pair (no dim 'pair'): plot_barrier draws it.")
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if metric != "loss" and "accuracy" not in dataset:
        raise UsageError(f"Metric {metric!r} needs the variable 'accuracy', which is not in the dataset: use 'loss'.")
    known = varying(dataset)
    over = over or (known[0] if known else "pair")
    if over != "pair" and over not in known:
        raise unknown("coordinate", over, ("pair", *known))
    if over == "pair":
        groups = {title: np.array([i]) for i, title in enumerate(_titles(dataset))}
    else:
        values = dataset[over].values
        groups = {f"{over} {value:g}": np.flatnonzero(values == value) for value in np.unique(values)}
    if len(groups) > _MOST_PANELS:
        raise UsageError(
            f"{len(groups)} panels ({over}) are more than {_MOST_PANELS}: choose, as in dataset.isel(pair=slice(8))."
        )
    return groups, over


def _titles(dataset: xr.Dataset) -> list[str]:
    if "a" not in dataset.coords or "b" not in dataset.coords:
        return [f"pair {i}" for i in range(dataset.sizes["pair"])]
    ends = [str(name) for key in ("a", "b") for name in dataset[key].values]
    distinct = list(dict.fromkeys(ends))
    short = dict(zip(distinct, short_names(distinct), strict=True))
    half = len(ends) // 2
    titles = [f"{short[a]} – {short[b]}" for a, b in zip(ends[:half], ends[half:], strict=True)]
    return titles if len(set(titles)) == half else [f"{i}: {title}" for i, title in enumerate(titles)]


def _draw(
    dataset: xr.Dataset,
    axes: Mapping[str, Axes],
    groups: Mapping[str, np.ndarray],
    metric: str,
    below: Figure | None,
) -> PanelsArtists:
    dataset = dataset.sortby("t").transpose("pair", "alignment", "t", ...)
    curves, intervals = curves_of(dataset, metric)
    lines, pairs, bands = {}, {}, {}
    for title, ax in axes.items():
        for place, name in enumerate(map(str, dataset["alignment"].values)):
            chosen = curves[groups[title], place]
            key, t = (title, name), dataset["t"].values
            step = -(-t.size // _MARKERS)
            (lines[key],) = ax.plot(t, _mean(chosen), label=name, markevery=(place % step, step), zorder=3)
            color = lines[key].get_color()
            thin = {"color": color, "linewidth": 0.5, "alpha": 0.6, "marker": "", "linestyle": "-", "zorder": 2}
            pairs[key] = ax.plot(t, chosen.T, **thin) if len(chosen) > 1 else []
            if len(chosen) == 1 and intervals is not None:
                low, high = intervals[groups[title][0], place].T
                bands[key] = ax.fill_between(t, low, high, color=color, alpha=0.2, linewidth=0, zorder=1.5)
        ends = _mean(curves[groups[title]].reshape(-1, curves.shape[-1]))[[0, -1]]
        ax.plot([0, 1], ends, **_CHORD)
        ax.set_title(title)
    _label(axes, dataset, metric, below)
    entries = [next(line for (_, known), line in lines.items() if known == name) for name in _names(dataset)]
    several = any(len(chosen) > 1 for chosen in groups.values())
    heading = "means over pairs (thin: the pairs)" if several else None
    first, *_ = axes.values()
    if below is None:
        legend = first.legend(handles=entries, title=heading, fontsize="x-small")
    else:
        columns = min(len(entries), int(below.get_figwidth() / 1.5))
        legend = below.legend(handles=entries, title=heading, ncols=columns, loc="outside upper left", alignment="left")
    figure = first.figure
    assert figure is not None
    return PanelsArtists(figure, dict(axes), lines, pairs, bands, legend)


def _mean(curves: np.ndarray) -> np.ndarray:
    """Return the mean over pairs of what was measured: a pair that failed is left out."""
    known = curves[np.isfinite(curves).all(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(curves.shape[1], np.nan)


def _label(axes: Mapping[str, Axes], dataset: xr.Dataset, metric: str, below: Figure | None) -> None:
    y_label = label_of_curves(dataset, metric)
    for ax in axes.values():
        grid = ax.get_subplotspec()
        if below is None or grid is None or grid.is_first_col():
            ax.set_ylabel(y_label)
    if below is None:
        for ax in axes.values():
            ax.set_xlabel("t")
    else:
        below.supxlabel(label_of(dataset["t"]), fontsize="medium")


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["alignment"].values]
