"""The basin figure: loss and error on a plane, modes, segments, and the component of a level outlined."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.levels import contour_levels
from lmc.plotting.results import check_dataset, label_of
from lmc.plotting.style import SIZES, house_style

METRICS = ("loss", "error")

COLORMAP = "viridis_r"
_MOST_FOR_LEGEND = 0.5  # of the height of the user's axes
_BESIDE_BAR = 0.82  # of their width
_HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.4, foreground="white")]
_THIN_HALO: list[AbstractPathEffect] = [withStroke(linewidth=1.8, foreground="white", alpha=0.5)]
_OUTLINES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)))
_OUTLINE = {"colors": "black", "linewidths": 1.4}
_SEGMENT = {"color": "0.15", "linewidth": 0.8, "linestyle": (0, (5, 2)), "zorder": 3}
_COPY = {"color": "#B94E00", "linewidth": 1.3, "linestyle": (0, (1, 1)), "zorder": 3}
_MODE = {
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.9,
    "zorder": 5,
}
_LABEL = {
    "fontsize": "small",
    "zorder": 6,
    "bbox": {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
}


@dataclass(frozen=True)
class BasinPanel:
    """The artists of one metric; segments by the pair of modes they join, outlines by the modes they hold."""

    axes: Axes
    contours: QuadContourSet
    colorbar: Colorbar
    modes: Mapping[str, Line2D]
    labels: Mapping[str, Annotation]
    segments: Mapping[tuple[str, str], Line2D]
    outlines: Mapping[tuple[str, ...], QuadContourSet]


@dataclass(frozen=True)
class BasinArtists(AbstractArtists):
    """A basin figure and everything in it, to be changed at will.

    Parameters
    ----------
    panels : mapping
        Metric (``"loss"``, ``"error"``) to its `BasinPanel`.
    legend : matplotlib.legend.Legend
        What the lines are.
    """

    panels: Mapping[str, BasinPanel]
    legend: Legend


def plot_basin(
    dataset: xr.Dataset,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    metric: str | None = None,
    level: float | None = None,
    size: str = "page",
) -> BasinArtists:
    """Draw loss and error on a plane as filled contours, with its modes, the segments between them and their basins.

    Where values span more than a factor of three, the levels are logarithmic. A dotted line joins an aligned copy to
    its original, dashed ones the other modes. The connected component that holds a mode at the level of the loss is
    outlined, in every panel: modes inside one outline lie in one component.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``basin`` (docs/schema.md).
    ax : matplotlib Axes or sequence of Axes, optional
        Where to draw, one for each metric, in the style these axes have; by default a new figure in the style of this
        package. Neither pyplot nor ``rcParams`` are touched. The legend stands below the first axes.
    metric : {"loss", "error", "both"}, optional
        What to draw; by default both where the dataset and ``ax`` have room for them, else the loss.
    level : float, optional
        Which of the dataset's levels is outlined; the first by default.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`), where it has two panels: one above the other in a column, else side by
        side. One panel alone is half as wide.

    Returns
    -------
    BasinArtists

    Raises
    ------
    SchemaError
        If the dataset is no basin result.
    UsageError
        For an unknown or absent metric or level, a wrong number of axes, or a path.
    """
    check_dataset(dataset, "plot_basin")
    schema.validate(dataset, kind="basin")
    level = _level(dataset, level)
    given = None if ax is None else [ax] if isinstance(ax, Axes) else list(ax)
    metrics = _metrics(dataset, metric, None if given is None else len(given))
    if given is not None:
        return _draw(dataset, dict(zip(metrics, given, strict=True)), level, below=given[0])
    with house_style(size):
        panel = SIZES["column"][0] if size == "column" else SIZES[size][0] / 2
        shape = (len(metrics), 1) if size == "column" else (1, len(metrics))
        figure = Figure(figsize=(shape[1] * panel, shape[0] * _height(dataset, panel)))
        axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
        artists = _draw(dataset, dict(zip(metrics, axes, strict=True)), level, below=figure)
        for one in axes:
            one.set_ylabel(axes[0].get_ylabel())
            one.label_outer()  # once for panels that share an axis
        figure.set_figheight(figure.get_figheight() + artists.legend.get_window_extent().height / figure.dpi)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def field_of(dataset: xr.Dataset, metric: str) -> NDArray[np.float64]:
    """Return the values of a metric, shape (v, u), as matplotlib has them."""
    values = dataset["loss"] if metric == "loss" else 1 - dataset["accuracy"]
    return values.transpose("v", "u").values.astype(np.float64)


def _metrics(dataset: xr.Dataset, metric: str | None, room: int | None) -> tuple[str, ...]:
    if metric not in (None, "both", *METRICS):
        raise unknown("metric", metric, ("both", *METRICS))
    if metric is None:
        metric = "loss" if room == 1 or "accuracy" not in dataset else "both"
    metrics = METRICS if metric == "both" else (metric,)
    if metric != "loss" and "accuracy" not in dataset:
        raise UsageError(f"Metric {metric!r} needs the variable 'accuracy', which is not in the dataset: use 'loss'.")
    if room not in (None, len(metrics)):
        raise UsageError(f"Metric {metric!r} needs {len(metrics)} axes, ax has {room}.")
    return metrics


def _level(dataset: xr.Dataset, level: float | None) -> float:
    levels = dataset["level"].values
    if level is None:
        return float(levels[0])
    if level not in levels:
        raise UsageError(
            f"The dataset has no components at level {level:g}; it has {', '.join(map(repr, levels.tolist()))}."
        )
    return float(level)


def _height(dataset: xr.Dataset, width: float) -> float:
    """Return the height, without a legend, at which panels of equal aspect fill the figure beside bars and labels."""
    inner = width - 0.9
    return float(np.clip(inner * np.ptp(dataset["v"].values) / np.ptp(dataset["u"].values), 1.2, 5.0)) + 0.85


def _draw(dataset: xr.Dataset, axes: Mapping[str, Axes], level: float, below: Axes | Figure) -> BasinArtists:
    panels = {metric: _panel(ax, dataset, metric, level) for metric, ax in axes.items()}
    first = next(iter(panels.values()))
    first.axes.set_ylabel(textwrap.fill(label_of(dataset["v"]), 32))
    handles = _handles(dataset, first, level)
    figure = first.axes.figure
    if isinstance(below, Figure):
        legend = below.legend(
            handles=handles, loc="outside lower center", ncols=min(len(panels), int(below.get_figwidth() / 3))
        )
    else:
        legend = below.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.25), fontsize="x-small")
        _make_room(panels.values(), legend)
    return BasinArtists(figure, panels, legend)


def _make_room(panels: Iterable[BasinPanel], legend: Legend) -> None:
    """Keep colour bars and the legend within the place that the user's axes had."""
    axes = [panel.axes for panel in panels]
    figure = axes[0].get_figure(root=True)
    if figure is None or figure.get_layout_engine() is not None:
        return  # an engine makes the room itself
    figure.draw_without_rendering()
    below = min(_MOST_FOR_LEGEND, legend.get_window_extent().height / axes[0].get_window_extent().height)
    for ax in axes:
        place = ax.get_position(original=True)
        width, height = _BESIDE_BAR * place.width, (1 - below) * place.height
        ax.set_position((place.x0, place.y1 - height, width, height))


def _panel(ax: Axes, dataset: xr.Dataset, metric: str, level: float) -> BasinPanel:
    u, v = dataset["u"].values, dataset["v"].values
    values = field_of(dataset, metric)
    levels = contour_levels(values, floor=-np.inf if metric == "loss" else _one_example(dataset, values))
    norm = BoundaryNorm(levels, 256)
    shown = np.ma.masked_invalid(np.clip(values, levels[0], levels[-1]))
    contours = ax.contourf(u, v, shown, levels=levels, norm=norm, cmap=COLORMAP, zorder=1)
    ax.contour(u, v, shown, levels=levels, colors="white", linewidths=0.3, alpha=0.6, zorder=1.5)
    bar = _colorbar(ax, contours, levels)
    segments = {pair: _segment(ax, dataset, pair) for pair in itertools.combinations(_names(dataset), 2)}
    modes, labels = _modes(ax, dataset)
    outlines = _outlines(ax, dataset, level)
    ax.set_aspect("equal")
    ax.grid(False)
    ax.set_xlabel(textwrap.fill(label_of(dataset["u"]), 40))
    split = dataset["split"].item()
    title = label_of(dataset["loss"]) if metric == "loss" else metric
    ax.set_title(title if split == "all" else f"{split} {title}")
    return BasinPanel(ax, contours, bar, modes, labels, segments, outlines)


def _colorbar(ax: Axes, contours: QuadContourSet, levels: NDArray[np.float64]) -> Colorbar:
    """Stand a bar as high as the axes beside them: one that takes its room from them would not follow their aspect."""
    mappable = ScalarMappable(contours.norm, contours.cmap)
    figure = ax.figure
    assert figure is not None
    bar = figure.colorbar(mappable, cax=ax.inset_axes((1.03, 0, 0.05, 1)), spacing="uniform")
    bar.set_ticks(list(levels), labels=[f"{level:g}" for level in levels])
    bar.ax.minorticks_off()
    return bar


def _one_example(dataset: xr.Dataset, values: NDArray[np.float64]) -> float:
    """Return the least error that is not zero, where some is zero: a logarithm has to begin somewhere."""
    positive = values[np.isfinite(values) & (values > 0)]
    return float(positive.min()) if positive.size else 0.0


def _segment(ax: Axes, dataset: xr.Dataset, pair: tuple[str, str]) -> Line2D:
    ends = dataset.sel(mode=list(pair))
    style = _COPY if is_copy(dataset, pair) else _SEGMENT
    (line,) = ax.plot(ends["mode_u"].values, ends["mode_v"].values, marker="", **style)
    line.set_path_effects(_THIN_HALO)
    return line


def is_copy(dataset: xr.Dataset, pair: tuple[str, str]) -> bool:
    """Say whether one of two modes is the aligned copy of the other."""
    originals = {name: str(dataset["mode_copy_of"].sel(mode=name).item()) for name in pair}
    return originals[pair[0]] == pair[1] or originals[pair[1]] == pair[0]


def _modes(ax: Axes, dataset: xr.Dataset) -> tuple[dict[str, Line2D], dict[str, Annotation]]:
    """Mark the modes, their names on the side that faces away from the others."""
    names = _names(dataset)
    places = np.stack([dataset["mode_u"].values, dataset["mode_v"].values], axis=-1)
    centre = places.mean(axis=0)
    marks, labels = {}, {}
    for name, place in zip(names, places, strict=True):
        (marks[name],) = ax.plot(*place, linestyle="", **_MODE)
        away = np.sign(np.round(place - centre, 12))
        offset = (0, 8) if len(names) == 1 or away[1] > 0 else (0, -8)
        vertical = "bottom" if offset[1] > 0 else "top"
        labels[name] = ax.annotate(name, place, offset, textcoords="offset points", ha="center", va=vertical, **_LABEL)
    return marks, labels


def _outlines(ax: Axes, dataset: xr.Dataset, level: float) -> dict[tuple[str, ...], QuadContourSet]:
    """Outline each component that holds a mode; modes above the level have none."""
    one = dataset.sel(level=level)
    u, v, loss = dataset["u"].values, dataset["v"].values, field_of(dataset, "loss")
    labels = one["component"].transpose("v", "u").values
    held: dict[int, list[str]] = {}
    for name, label in zip(_names(dataset), one["mode_component"].values.tolist(), strict=True):
        held.setdefault(int(label), []).append(name)
    outlines = {}
    for style, (label, names) in zip(itertools.cycle(_OUTLINES), held.items()):
        if label:
            # What lies below the level elsewhere is lifted above it, so that the contour is that of this component.
            lifted = np.where((labels == label) | (loss > level), loss, 2 * abs(level) + 1)
            lines = ax.contour(u, v, lifted, levels=[level], linestyles=[style], zorder=4, **_OUTLINE)
            lines.set_path_effects(_HALO)
            outlines[tuple(names)] = lines
    return outlines


def _handles(dataset: xr.Dataset, panel: BasinPanel, level: float) -> list[Line2D]:
    """Return the legend's lines: which modes share a component, and what joins them."""
    units = dataset["loss"].attrs["units"]
    at = f"loss ≤ {level:g}" + ("" if units == "1" else f" {units}")
    handles = []
    for style, names in zip(itertools.cycle(_OUTLINES), panel.outlines):
        which = "another" if handles else "one" if len(names) > 1 else "a"
        text = f"{', '.join(names)}: {which} component of {at}"
        handles.append(Line2D([], [], color="black", linewidth=1.4, linestyle=style, marker="", label=text))
    pairs = list(panel.segments)
    if any(not is_copy(dataset, pair) for pair in pairs):
        handles.append(Line2D([], [], **{**_SEGMENT, "marker": ""}, label="straight path"))
    copies = [pair for pair in pairs if is_copy(dataset, pair)]
    if copies:
        handles.append(Line2D([], [], **{**_COPY, "marker": ""}, label="a mode and its aligned copy"))
    return handles


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["mode"].values]
