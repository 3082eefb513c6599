"""The fusion figure: parents, baselines and fused networks as dots with intervals, one row each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.results import check_dataset, with_units
from lmc.plotting.style import SIZES, house_style

METRICS = ("loss", "accuracy", "error")

_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "parent": {"color": "0.15", "marker": "o", "markerfacecolor": "white"},
    "ensemble": {"color": "#56B4E9", "marker": "D"},
    "baseline": {"color": "#E69F00", "marker": "s"},
    "fused": {"color": "#0072B2", "marker": "o"},
    "fine-tuned": {"color": "#009E73", "marker": "^"},
}
_ROW = 0.19  # inches
_LINE = 0.125  # inches, of a name that takes several lines
_MARGINS = 0.85  # inches for axis, its label and the legend
_NAME = 26  # characters of a row's name in one line
_VALUE: Mapping[str, Any] = {
    "xytext": (4, 0),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": "small",
    "annotation_clip": False,
}
_BEST = {"color": "0.35", "linestyle": (0, (5, 3)), "linewidth": 0.7, "marker": "", "zorder": 1.5}


@dataclass(frozen=True)
class FusionPanel:
    """The artists of one metric, by the row's name; dots of single runs where there are several."""

    axes: Axes
    points: Mapping[str, ErrorbarContainer]
    runs: Mapping[str, Line2D]
    values: Mapping[str, Text]
    best: Line2D | None


@dataclass(frozen=True)
class FusionTableArtists(AbstractArtists):
    """A fusion figure and everything in it, to be changed at will.

    Parameters
    ----------
    panels : mapping
        Metric (``"loss"``, ``"accuracy"``, ``"error"``) to its `FusionPanel`.
    legend : matplotlib.legend.Legend
        What the marks are.
    """

    panels: Mapping[str, FusionPanel]
    legend: Legend


def plot_fusion_table(
    dataset: xr.Dataset,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    metric: str | None = None,
    size: str | None = None,
) -> FusionTableArtists:
    """Draw a fusion table: a dot and a 95% interval for each network, in the order of the table.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``fusion`` (docs/schema.md). Of several runs (dim ``run``) the dot is the mean, the bar goes
        from the least to the greatest, and each run is a small dot.
    ax : matplotlib Axes or sequence of Axes, optional
        Where to draw, one for each metric, in the style these axes have; by default a new figure in the style of this
        package. Neither pyplot nor ``rcParams`` are touched.
    metric : {"loss", "accuracy", "error", "both"}, optional
        What to draw; ``both`` is accuracy and loss. The accuracy by default, where there is one. Errors, which differ
        by factors, are on a logarithmic axis unless one is zero.
    size : {"column", "page", "slide"}, optional
        How wide a new figure is; a column for one metric, a page for both by default. Its height is that of the rows.

    Returns
    -------
    FusionTableArtists
        The figure, its legend, and dots, values and the line at the best parent of each panel.

    Raises
    ------
    SchemaError
        If the dataset is no fusion table.
    UsageError
        For an unknown size, an unknown or absent metric, a wrong number of axes, or a path in place of a dataset.
    """
    check_dataset(dataset, "plot_fusion_table")
    schema.validate(dataset, kind="fusion")
    given = None if ax is None else [ax] if isinstance(ax, Axes) else list(ax)
    metrics = _metrics(dataset, metric, None if given is None else len(given))
    if given is not None:
        return _draw(dataset, dict(zip(metrics, given, strict=True)), own=False)
    size = size or ("column" if len(metrics) == 1 else "page")
    with house_style(size):
        most = max(_wrapped(name).count("\n") + 1 for name in _names(dataset))
        height = _MARGINS + max(_ROW, _LINE * most) * dataset.sizes["model"]
        figure = Figure(figsize=(SIZES[size][0], height))
        axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        artists = _draw(dataset, dict(zip(metrics, axes, strict=True)), own=True)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _metrics(dataset: xr.Dataset, metric: str | None, room: int | None) -> tuple[str, ...]:
    if metric not in (None, "both", *METRICS):
        raise unknown("metric", metric, ("both", *METRICS))
    metric = metric or ("accuracy" if "accuracy" in dataset else "loss")
    metrics = ("accuracy", "loss") if metric == "both" else (metric,)
    if metric != "loss" and "accuracy" not in dataset:
        raise UsageError(f"Metric {metric!r} needs the variable 'accuracy', which is not in the dataset: use 'loss'.")
    if room not in (None, len(metrics)):
        raise UsageError(f"Metric {metric!r} needs {len(metrics)} axes, ax has {room}.")
    return metrics


def _draw(dataset: xr.Dataset, axes: Mapping[str, Axes], *, own: bool) -> FusionTableArtists:
    first, *_ = axes.values()
    panels = {}
    for metric, ax in axes.items():
        named = ax is first or not ax.get_shared_y_axes().joined(first, ax)
        panels[metric] = _panel(ax, dataset, metric, named=named)
    legend = _legend(first, _roles(dataset), own)
    return FusionTableArtists(first.figure, panels, legend)


def _panel(ax: Axes, dataset: xr.Dataset, metric: str, *, named: bool) -> FusionPanel:
    names, roles = _names(dataset), _roles(dataset)
    middle, low, high, runs = _values(dataset, metric)
    points, dots, values = {}, {}, {}
    for row, name in enumerate(names):
        look = _look(roles[row])
        bars = np.maximum([[middle[row] - low[row]], [high[row] - middle[row]]], 0)
        points[name] = ax.errorbar([middle[row]], [row], xerr=bars, capsize=2, zorder=3, **look)
        if runs is not None:
            single = {**look, "marker": ".", "alpha": 0.5, "zorder": 2}
            (dots[name],) = ax.plot(runs[:, row], np.full(len(runs), row), **single)
        values[name] = ax.annotate(_number(middle[row], metric), (1, row), xycoords=ax.get_yaxis_transform(), **_VALUE)
    if named:
        ax.set_yticks(np.arange(len(names)), [_wrapped(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    if metric == "error" and np.all(np.concatenate([middle, low]) > 0):
        ax.set_xscale("log")
        # Labels at 1, 2, 5 only, as plain numbers: those of every minor tick would run into each other.
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(_label(dataset, metric, runs))
    return FusionPanel(ax, points, dots, values, _best(ax, roles, middle, metric))


def _look(role: str) -> dict[str, Any]:
    look = dict(_LOOKS.get(role, {"color": "black", "marker": "x"}))
    return {**look, "markeredgecolor": look["color"], "markeredgewidth": 0.9, "linestyle": ""}


def _best(ax: Axes, roles: list[str], middle: NDArray[np.float64], metric: str) -> Line2D | None:
    """Draw a line at the best parent: what a fused network is measured against."""
    parents = middle[[role == "parent" for role in roles]]
    parents = parents[np.isfinite(parents)]
    if not len(parents):
        return None
    return ax.axvline(float(parents.max() if metric == "accuracy" else parents.min()), **_BEST)


def _legend(ax: Axes, roles: list[str], own: bool) -> Legend:
    """Say what the marks are: above the whole of our own figure, above the first axes of the user's."""
    handles = [Line2D([], [], label=role, **_look(role)) for role in dict.fromkeys(roles)]
    if "parent" in roles:
        handles.append(Line2D([], [], label="best parent", **_BEST))
    near: dict[str, Any] = {"ncols": 3, "handlelength": 1.8, "columnspacing": 1.0}
    if own and isinstance(ax.figure, Figure):
        return ax.figure.legend(handles=handles, loc="outside upper left", **near)
    return ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), **near)


def _values(
    dataset: xr.Dataset, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """Return dots, ends of the bars, and the values of single runs, shape (run, model), where there are several."""
    source = "loss" if metric == "loss" else "accuracy"
    table = dataset[source]
    if "run" in table.dims:
        runs = table.transpose("run", "model").values.astype(np.float64)
        runs = 1 - runs if metric == "error" else runs
        return runs.mean(axis=0), runs.min(axis=0), runs.max(axis=0), runs
    middle = table.values.astype(np.float64)
    low, high = middle, middle
    if f"{source}_ci" in dataset:
        low, high = dataset[f"{source}_ci"].transpose("bound", "model").values.astype(np.float64)
    return (1 - middle, 1 - high, 1 - low, None) if metric == "error" else (middle, low, high, None)


def _label(dataset: xr.Dataset, metric: str, runs: Any) -> str:
    variable = dataset["loss" if metric == "loss" else "accuracy"]
    split = str(dataset["split"].values.flat[0])
    text = ("" if split == "all" else f"{split} ") + ("error" if metric == "error" else variable.attrs["long_name"])
    text = with_units(text, variable)
    return text if runs is None else f"{text}, mean and range of {len(runs)} runs"


def _number(value: float, metric: str) -> str:
    return f"{value:.3f}" if metric == "loss" else f"{100 * value:.2f}%"


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["model"].values]


def _roles(dataset: xr.Dataset) -> list[str]:
    roles = dataset["role"]
    return [str(role) for role in (roles.isel(run=0) if "run" in roles.dims else roles).values]


def _wrapped(name: str) -> str:
    """Break a long name where it can be read: after a comma, before an option, else anywhere but at a hyphen."""
    if len(name) <= _NAME:
        return name
    parts = name.replace(", ", ",\n").replace("?", "\n?").replace("&", "\n&").split("\n")
    return "\n".join(line for part in parts for line in textwrap.wrap(part, _NAME, break_on_hyphens=False))
