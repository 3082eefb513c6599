"""The verdicts of a conjecture on all pairs of checkpoints, as a matrix of marks and barriers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from lmc import schema
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.pair_matrix import (
    CHOSEN,
    MOST_WRITTEN,
    clusters,
    label_cells,
    models_of,
    pairs_of,
    short_names,
    square,
    values_of,
)
from lmc.plotting.results import check_dataset
from lmc.plotting.style import SIZES, figure_size, house_style

# Light to dark in grey as well, and each with a mark of its own.
_LOOKS: Mapping[str, tuple[str, str]] = {
    "connected": ("#B2DECB", "o"),
    "undecided": ("#F4F4F4", "$?$"),
    "not connected by anything tried": ("#E69F00", "x"),
    "not connected by any permutation": ("#A33F00", "s"),
}
_COLUMNS = 50  # characters of a title, in one column of a paper


@dataclass(frozen=True)
class VerdictArtists(AbstractArtists):
    """A matrix of verdicts; cells, marks and numbers by the pair of names, rows and columns in the order drawn."""

    axes: Axes
    models: tuple[str, ...]
    cells: Mapping[tuple[str, str], tuple[Rectangle, Rectangle]]
    marks: Mapping[tuple[str, str], Line2D]
    numbers: Mapping[tuple[str, str], Text]
    legend: Legend


def plot_verdicts(dataset: xr.Dataset, *, ax: Axes | None = None, size: str = "column") -> VerdictArtists:
    """Draw what was decided on each pair: marks below the diagonal, barriers by the chosen method above it.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``conjecture`` (docs/schema.md).
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure in the style of this package.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    VerdictArtists
        Checkpoints with small barriers stand side by side.

    Raises
    ------
    SchemaError
        If the dataset is no conjecture.
    """
    check_dataset(dataset, "plot_verdicts")
    schema.validate(dataset, kind="conjecture")
    pairs = pairs_of(dataset)
    if ax is not None:
        return _draw(ax, dataset, pairs, size, below=ax)
    with house_style(size):
        figure = Figure(figsize=figure_size(size, 1.15))
        artists = _draw(figure.subplots(), dataset, pairs, size, below=figure)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _draw(
    ax: Axes, dataset: xr.Dataset, pairs: list[tuple[str, str]], size: str, below: Axes | Figure
) -> VerdictArtists:
    models = models_of(pairs)
    barriers = values_of(dataset, dataset["barrier"], CHOSEN)
    order, _ = clusters(square(pairs, models, barriers))
    models = [models[i] for i in order]
    place = {name: i for i, name in enumerate(models)}
    written = len(models) <= MOST_WRITTEN
    cells, marks, numbers = {}, {}, {}
    for pair, word, barrier in zip(pairs, map(str, dataset["verdict"].values), barriers, strict=True):
        first, second = sorted(place[name] for name in pair)
        color, mark = _LOOKS.get(word, ("white", "$!$"))
        cells[pair] = _cell(ax, first, second, color), _cell(ax, second, first, color)
        (marks[pair],) = ax.plot(first, second, marker=mark, **_mark(len(models)))
        if written:
            value = _number(barrier, dataset)
            numbers[pair] = ax.text(second, first, value, ha="center", va="center", fontsize="x-small")
    label_cells(ax, short_names(models))
    figure = ax.figure
    assert figure is not None
    above = f"above the diagonal: {dataset.attrs['metric']} barrier" if written else ""
    columns = int(_COLUMNS * SIZES[size][0] / SIZES["column"][0])
    title = "\n".join(filter(None, [textwrap.fill(str(dataset.attrs.get("summary", "")), columns), above]))
    ax.set_title(title, loc="left", fontsize="medium")
    return VerdictArtists(figure, ax, tuple(models), cells, marks, numbers, _legend(below, dataset))


def _cell(ax: Axes, x: int, y: int, color: str) -> Rectangle:
    cell = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="0.85", linewidth=0.5)
    ax.add_patch(cell)
    return cell


def _mark(count: int) -> dict[str, Any]:
    size = float(np.clip(60 / count, 1.5, 7))
    return {"linestyle": "", "color": "black", "markersize": size, "markeredgewidth": 0.8, "markeredgecolor": "black"}


def _number(barrier: float, dataset: xr.Dataset) -> str:
    if not np.isfinite(barrier):
        return ""
    return f"{100 * barrier:.1f}%" if dataset["barrier"].attrs["units"] == "1" else f"{barrier:.3f}"


def _legend(below: Axes | Figure, dataset: xr.Dataset) -> Legend:
    """Say what each mark means and how often it is there, and which checkpoints are not."""
    words = [str(word) for word in dataset["verdict"].values]
    handles, labels = [], []
    for word, (color, mark) in _LOOKS.items():
        if count := words.count(word):
            handles.append((Rectangle((0, 0), 1, 1, facecolor=color), Line2D([], [], marker=mark, **_mark(20))))
            labels.append(f"{word}: {count} of {len(words)}")
    aside = int((dataset["model_status"] != "used").sum())
    title = f"{aside} of {dataset.sizes['model']} checkpoints set aside" if aside else None
    if isinstance(below, Figure):
        return below.legend(handles, labels, title=title, alignment="left", loc="outside lower left")
    return below.legend(handles, labels, title=title, alignment="left", loc="upper left", bbox_to_anchor=(0, -0.3))
