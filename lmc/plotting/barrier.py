"""The barrier figure: loss and accuracy along the path, one line per alignment. Computes nothing but 1 - accuracy."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.results import BASELINES, check_dataset, label_of, single_pair
from lmc.plotting.style import SIZES, house_style
from lmc.plotting.zoom import add_inset, place_of

METRICS = ("loss", "accuracy", "error")

_MARKERS = 12  # on a line, at most
_COLUMNS = 54  # characters of a legend, in one column of a paper
_HANDLE = 10  # of them, before the text of an entry
_CHARACTER = 0.55  # width of a character, in font sizes
_BASELINE = {"color": "0.35", "linestyle": (0, (5, 3)), "linewidth": 0.7, "marker": "", "zorder": 2.5}
_END = {
    "ha": "center",
    "va": "center",
    "fontsize": "x-small",
    "zorder": 4,
    "bbox": {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "black", "linewidth": 0.7},
}
_ABOVE = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
_MOST_FOR_LEGEND = 0.6  # of the height of the user's axes


@dataclass(frozen=True)
class Panel:
    """The artists of one metric, by alignment where there is one each."""

    axes: Axes
    lines: Mapping[str, Line2D]
    bands: Mapping[str, PolyCollection]
    baselines: tuple[Line2D, ...]
    ends: tuple[Annotation, ...]
    legend: Legend
    inset: Axes | None = None


@dataclass(frozen=True)
class BarrierArtists(AbstractArtists):
    """A barrier figure and everything in it, to be changed at will.

    Parameters
    ----------
    panels : mapping
        Metric (``"loss"``, ``"accuracy"``, ``"error"``) to its `Panel`.
    """

    panels: Mapping[str, Panel]


def plot_barrier(
    dataset: xr.Dataset,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    metric: str | None = None,
    baseline: str = "chord",
    inset: bool | None = None,
    size: str = "column",
) -> BarrierArtists:
    """Draw loss and accuracy along the path between two models, with 95% intervals and the barriers in the legend.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``barrier`` (docs/schema.md) with one pair of models, and one alignment or several.
    ax : matplotlib Axes or sequence of Axes, optional
        Where to draw, one for each metric, in the style these axes have; by default a new figure in the style of this
        package. Neither pyplot nor ``rcParams`` are touched. The legend stands above the axes, which give up height
        for it where the figure has no layout engine.
    metric : {"loss", "accuracy", "error", "both"}, optional
        What to draw; ``both`` is loss and accuracy. By default both where the dataset and ``ax`` have room for them,
        else the loss.
    baseline : {"chord", "mean"}
        What the barriers are measured against; drawn as a thin dashed line.
    inset : bool, optional
        Whether lines that crowd beside a far higher one are shown larger in a corner of their own; by default in a
        figure of this package, where there is room.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`): one panel above the other in a column, else side by side.

    Returns
    -------
    BarrierArtists
        The figure, and lines, bands, baselines, ends and legend of each panel.

    Raises
    ------
    SchemaError
        If the dataset is no barrier result.
    UsageError
        For an unknown or absent metric or baseline, a wrong number of axes, a dataset of several pairs, or a path.
    """
    check_dataset(dataset, "plot_barrier")
    dataset = _with_alignment(dataset)
    schema.validate(dataset, kind="barrier")
    if baseline not in dataset["baseline"].values:
        raise unknown("baseline", baseline, dataset["baseline"].values)
    dataset = single_pair(dataset).sortby("t")
    given = None if ax is None else [ax] if isinstance(ax, Axes) else list(ax)
    metrics = _metrics(dataset, metric, None if given is None else len(given))
    if given is not None:
        columns = min(map(_columns, given))
        artists = _draw(dataset, dict(zip(metrics, given, strict=True)), baseline, columns, bool(inset))
        _make_room(artists)
        return artists
    with house_style(size):
        figure = Figure()
        shape = (len(metrics), 1) if size == "column" else (1, len(metrics))
        axes = figure.subplots(*shape, sharex=True, squeeze=False).ravel()
        columns = int(_COLUMNS * SIZES[size][0] / SIZES["column"][0] / shape[1])
        zoom = inset is None or inset
        artists = _draw(dataset, dict(zip(metrics, axes, strict=True)), baseline, columns, zoom)
        for one in axes[shape[0] - 1 :]:  # of panels above each other only the last has a label below
            one.set_xlabel(axes[-1].get_xlabel())
        _fit_height(figure, artists, shape[0])
    return artists


def _with_alignment(dataset: xr.Dataset) -> xr.Dataset:
    """Give the dimension back that ``sel(alignment=...)`` takes away."""
    if "alignment" in dataset.dims or "alignment" not in dataset.coords:
        return dataset
    lost = [name for name in dataset.data_vars if "alignment" in getattr(schema.BARRIER.get(str(name)), "dims", ())]
    return dataset.assign(dataset[lost].expand_dims("alignment"))


def _metrics(dataset: xr.Dataset, metric: str | None, room: int | None) -> tuple[str, ...]:
    if metric not in (None, "both", *METRICS):
        raise unknown("metric", metric, ("both", *METRICS))
    if metric is None:
        metric = "loss" if room == 1 or "accuracy" not in dataset else "both"
    metrics = ("loss", "accuracy") if metric == "both" else (metric,)
    if metric != "loss" and "accuracy" not in dataset:
        raise UsageError(f"Metric {metric!r} needs the variable 'accuracy', which is not in the dataset: use 'loss'.")
    if room not in (None, len(metrics)):
        raise UsageError(f"Metric {metric!r} needs {len(metrics)} axes, ax has {room}.")
    return metrics


def _fit_height(figure: Figure, artists: BarrierArtists, rows: int) -> None:
    width, height = figure.get_size_inches()
    legends = [panel.legend.get_window_extent().height for panel in artists.panels.values()]
    above = sum(legends) if rows == len(legends) else max(legends)
    figure.set_size_inches(width, rows * height + above / figure.dpi)
    figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style


def _make_room(artists: BarrierArtists) -> None:
    """Keep axes and legend together within the place that the user's axes had."""
    for panel in artists.panels.values():
        ax = panel.axes
        if ax.figure is None or ax.figure.get_layout_engine() is not None:
            continue  # an engine makes the room itself
        place = ax.get_position(original=True)
        box, legend = ax.get_window_extent(), panel.legend.get_window_extent()
        height = place.height * (1 - min((legend.y1 - box.y1) / box.height, _MOST_FOR_LEGEND))
        ax.set_position((place.x0, place.y0, place.width, height))


def _columns(ax: Axes) -> int:
    """Return how many characters of a legend fit beside each other above an axes, at most as many as in our figure."""
    size = FontProperties(size=matplotlib.rcParams["legend.fontsize"]).get_size_in_points()
    points = 72 * ax.get_window_extent().width / ax.figure.dpi
    return max(_HANDLE + 1, min(_COLUMNS, int(points / (_CHARACTER * size))))


def _draw(dataset: xr.Dataset, axes: Mapping[str, Axes], baseline: str, columns: int, zoom: bool) -> BarrierArtists:
    panels = {metric: _panel(ax, dataset, metric, baseline, columns, zoom) for metric, ax in axes.items()}
    *_, last = axes.values()
    last.set_xlabel(textwrap.fill(label_of(dataset["t"]), max(columns - 8, _HANDLE)))  # centred on what is narrower
    return BarrierArtists(last.figure, panels)


def _panel(ax: Axes, dataset: xr.Dataset, metric: str, baseline: str, columns: int, zoom: bool) -> Panel:
    t, (curves, intervals) = dataset["t"].values, curves_of(dataset, metric)
    title, labels = _legend_text(dataset, metric, baseline, columns)
    step = -(-t.size // _MARKERS)
    lines, bands = {}, {}
    for i, (name, label) in enumerate(labels.items()):
        # Staggered markers keep lines that lie on each other apart.
        (lines[name],) = ax.plot(t, curves[i], label=label, markevery=(i % step, step), zorder=3)
        if intervals is not None:
            color = lines[name].get_color()
            bands[name] = ax.fill_between(t, *intervals[i].T, color=color, alpha=0.2, linewidth=0, zorder=2)
    other = "B*" if "only" in dataset.attrs else "B"  # a layer-wise path ends at a hybrid
    baselines, ends = _mark_ends(ax, t, curves, baseline, other)
    ax.set_ylabel(label_of_curves(dataset, metric))
    legend = ax.legend(handles=list(lines.values()), title=title, alignment="left", **_ABOVE)
    place = place_of(curves, t, ax.get_ylim()) if zoom else None
    inset = None
    if place is not None:
        inset = add_inset(ax, place, [*(list(lines.values())[i] for i in place.crowd), *baselines])
    return Panel(ax, lines, bands, baselines, ends, legend, inset)


def curves_of(dataset: xr.Dataset, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the values of a metric along the paths and, where there are some, their intervals."""
    source = "loss" if metric == "loss" else "accuracy"
    curves = dataset[source].values
    intervals = dataset[f"{source}_ci"].values if f"{source}_ci" in dataset else None
    if metric == "error":
        return 1 - curves, None if intervals is None else 1 - intervals[..., ::-1]
    return curves, intervals


def label_of_curves(dataset: xr.Dataset, metric: str) -> str:
    """Return what the values of `curves_of` are, and of which split."""
    split = dataset["split"].item()
    of_split = "" if split == "all" else f"{split} "  # what was not split is not worth a word
    return f"{of_split}{label_of(dataset[metric]) if metric in dataset else metric}"


def _mark_ends(
    ax: Axes, t: NDArray[np.float64], curves: NDArray[np.float64], baseline: str, other: str
) -> tuple[tuple[Line2D, ...], tuple[Annotation, ...]]:
    """Mark A, B and the baseline between them, once where the alignments' ends cannot be told apart."""
    resolution = np.ptp(ax.get_ylim()) / 50
    lines, marks = [], []
    for a, b in _distinct(curves[:, [0, -1]], resolution):
        height = (a, b) if baseline == "chord" else (0.5 * (a + b),) * 2
        lines += ax.plot(t[[0, -1]], height, **_BASELINE)
    for text, end in (("A", 0), (other, -1)):
        heights = _distinct(curves[:, [end]], resolution)
        marks += [ax.annotate(text, (t[end], y), **_END) for (y,) in heights]
    return tuple(lines), tuple(marks)


def _distinct(rows: NDArray[np.float64], resolution: float) -> NDArray[np.float64]:
    rows = rows[np.isfinite(rows).all(axis=1)]
    _, first = np.unique(np.round(rows / resolution), axis=0, return_index=True)
    return rows[np.sort(first)]


def _legend_text(dataset: xr.Dataset, metric: str, baseline: str, columns: int) -> tuple[str, dict[str, str]]:
    """Return the legend's title and, by alignment, its entries: the name, the barrier and its interval."""
    names = [str(name) for name in dataset["alignment"].values]
    scalar = "loss_barrier" if metric == "loss" else "error_barrier"
    if scalar not in dataset:
        title = textwrap.fill(label_of(dataset["alignment"]), columns)
        return title, {name: textwrap.fill(name, columns - _HANDLE) for name in names}
    title = f"{label_of(dataset[scalar])} above the {BASELINES.get(baseline, baseline)}"
    barriers = [f"{value:.3f}" for value in dataset[scalar].sel(baseline=baseline).values]
    interval = dataset.get(f"{scalar}_ci")
    if interval is not None:
        title += f" [{interval.attrs['long_name'].partition(' of ')[0]}]"
        bounds = interval.sel(baseline=baseline).values
        barriers = [f"{text} [{low:.3f}, {high:.3f}]" for text, (low, high) in zip(barriers, bounds, strict=True)]
    labels = {name: _entry(name, barrier, columns - _HANDLE) for name, barrier in zip(names, barriers, strict=True)}
    return textwrap.fill(title, columns), labels


def _entry(name: str, barrier: str, columns: int) -> str:
    """Keep within the column: a long name takes lines of its own."""
    if len(name) + len(barrier) < columns:
        return f"{name}  {barrier}"
    return f"{textwrap.fill(name, columns)}\n{barrier}"
