"""The barriers of all pairs of checkpoints: before alignment above the diagonal, after it below."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.levels import contour_levels
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
from lmc.plotting.results import BASELINES, check_dataset, with_units
from lmc.plotting.style import figure_size, house_style

_COLORMAP = "viridis_r"
_DARK = 0.45  # luminance, below which numbers are white
_EMPTY = "0.88"


@dataclass(frozen=True)
class MatrixArtists(AbstractArtists):
    """A matrix of barriers and everything in it; ``models`` names rows and columns in the order drawn."""

    axes: Axes
    image: AxesImage
    colorbar: Colorbar
    models: tuple[str, ...]
    tree: LineCollection | None
    numbers: tuple[Text, ...]


def plot_barrier_matrix(
    dataset: xr.Dataset,
    *,
    ax: Axes | None = None,
    metric: str | None = None,
    before: str | None = None,
    after: str | None = None,
    baseline: str = "chord",
    clustered: bool = True,
    size: str = "column",
) -> MatrixArtists:
    """Draw the barrier of every pair of checkpoints, before and after alignment in the two triangles.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``sweep`` or ``conjecture`` (docs/schema.md).
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure in the style of this package.
    metric : {"loss", "error"}, optional
        Whose barrier; by default the loss, and of a conjecture the metric that its verdicts are of.
    before, after : str, optional
        Alignments above and below the diagonal; by default ``none`` or the first, and the last. Below the diagonal of a
        conjecture, by default, is for each pair the method that was chosen for it.
    baseline : {"chord", "mean"}
        What barriers of a sweep are measured against.
    clustered : bool
        Put checkpoints with small barriers after alignment side by side (average linkage), and draw the tree; else
        they keep the order of the dataset.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    MatrixArtists
        A pair without a value is grey.

    Raises
    ------
    SchemaError
        If the dataset is of no such kind.
    UsageError
        For an unknown metric, alignment or baseline, and where a pair is there twice.
    """
    values, label = _barriers(dataset, metric, baseline)
    pairs = pairs_of(dataset)
    above, below = _alignments(dataset, before, after)
    models = models_of(pairs)
    upper, lower = (square(pairs, models, values_of(dataset, values, name)) for name in (above, below))
    order, tree = clusters(lower) if clustered else (list(range(len(models))), None)
    upper, lower = (matrix[np.ix_(order, order)] for matrix in (upper, lower))
    models = [models[i] for i in order]
    shown = np.where(np.triu(np.ones_like(upper), 1) > 0, upper, lower)
    np.fill_diagonal(shown, np.nan)
    title = f"above the diagonal: {above}\nbelow it: {below}"
    if ax is not None:
        return _draw(ax, shown, models, tree, (label, title))
    with house_style(size):
        figure = Figure(figsize=figure_size(size, 0.95))
        artists = _draw(figure.subplots(), shown, models, tree, (label, title))
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _barriers(dataset: xr.Dataset, metric: str | None, baseline: str) -> tuple[xr.DataArray, str]:
    """Return the barriers, dims pair and alignment, and what they are in words."""
    check_dataset(dataset, "plot_barrier_matrix")
    schema.validate(dataset)
    if dataset.attrs["lmc_kind"] == "conjecture":
        decided = str(dataset.attrs["metric"])
        if metric not in (None, decided):
            raise UsageError(f"The barriers of this conjecture are of the {decided}, not of the {metric}.")
        return dataset["barrier"], _words(dataset["barrier"], f"{decided} barrier", "chord")
    schema.validate(dataset, kind="sweep")
    metric = metric or "loss"
    if metric not in ("loss", "error"):
        raise unknown("metric", metric, ("loss", "error"))
    if f"{metric}_barrier" not in dataset:
        raise UsageError(f"Metric {metric!r} needs the variable '{metric}_barrier', which is not in the dataset.")
    if baseline not in dataset["baseline"].values:
        raise unknown("baseline", baseline, dataset["baseline"].values)
    values = dataset[f"{metric}_barrier"].sel(baseline=baseline)
    return values, _words(values, values.attrs["long_name"], baseline)


def _words(values: xr.DataArray, name: str, baseline: str) -> str:
    return with_units(f"{name} above the {BASELINES.get(baseline, baseline)}", values)


def _alignments(dataset: xr.Dataset, before: str | None, after: str | None) -> tuple[str, str]:
    names = [str(name) for name in dataset["alignment"].values]
    for name in (before, after):
        if name is not None and name not in names:
            raise unknown("alignment", name, names)
    before = before or ("none" if "none" in names else names[0])
    if after is None:
        after = CHOSEN if "method" in dataset else names[-1]
    return before, after


def _draw(
    ax: Axes,
    shown: NDArray[np.float64],
    models: list[str],
    tree: NDArray[np.float64] | None,
    words: tuple[str, str],
) -> MatrixArtists:
    levels = contour_levels(shown, floor=_floor(shown))
    norm = BoundaryNorm(levels, 256)
    ax.set_facecolor(_EMPTY)
    image = ax.imshow(np.ma.masked_invalid(np.clip(shown, levels[0], levels[-1])), norm=norm, cmap=_COLORMAP)
    for place in np.arange(-0.5, len(models)):
        ax.axhline(place, color="white", linewidth=0.4, marker="")
        ax.axvline(place, color="white", linewidth=0.4, marker="")
    for place in range(len(models)):
        ax.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, color="white"))
    label_cells(ax, short_names(models))
    numbers = _numbers(ax, shown, image) if len(models) <= MOST_WRITTEN else ()
    figure = ax.figure
    assert figure is not None
    bar = figure.colorbar(image, cax=ax.inset_axes((1.03, 0, 0.045, 1)), spacing="uniform")
    bar.set_ticks(list(levels), labels=[f"{level:g}" for level in levels])
    bar.ax.minorticks_off()
    bar.set_label(words[0])
    lines = None if tree is None else _tree(ax, tree)
    title = "\n".join(textwrap.fill(line, 60) for line in words[1].split("\n"))
    ax.set_title(title, loc="left", pad=24 if lines else 4)
    return MatrixArtists(figure, ax, image, bar, tuple(models), lines, numbers)


def _floor(shown: NDArray[np.float64]) -> float:
    """Return the least positive value, whose colour barriers of zero share: a logarithm has to begin somewhere."""
    positive = shown[np.isfinite(shown) & (shown > 0)]
    return max(float(positive.min()), 1e-3 * float(positive.max())) if positive.size else 0.0


def _numbers(ax: Axes, shown: NDArray[np.float64], image: AxesImage) -> tuple[Text, ...]:
    texts = []
    for row, column in zip(*np.nonzero(np.isfinite(shown)), strict=True):
        red, green, blue, _ = image.cmap(image.norm(shown[row, column]))
        color = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < _DARK else "black"
        value = f"{shown[row, column]:.2g}" if shown[row, column] >= 1e-3 else "0"
        texts.append(ax.text(column, row, value, ha="center", va="center", fontsize="x-small", color=color))
    return tuple(texts)


def _tree(ax: Axes, tree: NDArray[np.float64]) -> LineCollection:
    """Draw the tree above the columns, its leaves over their middles."""
    plain = dendrogram(tree, no_plot=True)
    top = ax.inset_axes((0, 1.01, 1, 0.1))
    # scipy puts leaf k at 10 k + 5.
    corners = np.stack([(np.array(plain["icoord"]) - 5) / 10, np.array(plain["dcoord"])], axis=-1)
    lines = LineCollection(list(corners), colors="0.35", linewidths=0.7)
    top.add_collection(lines)
    height = max(float(np.max(tree[:, 2])), np.finfo(float).tiny)
    top.set(xlim=(-0.5, len(tree) + 0.5), ylim=(0, 1.08 * height))
    top.axis("off")
    return lines
