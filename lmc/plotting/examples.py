"""The examples that break along the path: images or texts, ordered by how far their own loss rises."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.results import check_dataset, single_pair, with_units
from lmc.plotting.style import SIZES, house_style

_COLUMNS = {"column": 4, "page": 8, "slide": 6}
_HEIGHT = 1.75  # of a cell, in its widths
_TITLE, _SHOWN, _GAP, _FOOT = 0.2, 0.5, 0.06, 0.1  # of a cell: words, image, space, ticks; the rest is the curve
_ALONE = 0.6  # height of a cell without an image, as a share of one with it
_LETTERS = 16  # of a text, in a line of a cell
_ROWS_OF_TEXT = 5
_LETTERS_PER_INCH = 16  # of a legend
_HANDLE = 10  # of them, before a name


@dataclass(frozen=True)
class ExampleCell:
    """The artists of one example: what it is (an image, a text, or nothing), its losses by alignment, its title."""

    axes: Axes
    shown: AxesImage | Text | None
    lines: Mapping[str, Line2D]
    title: Text


@dataclass(frozen=True)
class ExamplesArtists(AbstractArtists):
    """A figure of examples and everything in it; cells by index of the example, the one that breaks most first."""

    axes: Axes
    cells: Mapping[int, ExampleCell]
    legend: Legend


def plot_examples(
    dataset: xr.Dataset,
    *,
    examples: Any = None,
    alignment: str | None = None,
    count: int | None = None,
    ax: Axes | None = None,
    size: str = "page",
) -> ExamplesArtists:
    """Draw the examples whose own loss rises most above its chord, each with its loss along the path.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``barrier`` (docs/schema.md) with the variable ``example_barrier`` and one pair of models.
    examples : array or sequence of str, optional
        What the data holds, indexed as the coordinate ``example``: images of shape (n, height, width), (n, channels,
        height, width) or (n, height, width, channels), or texts. Without it there are curves alone.
    alignment : str, optional
        Whose barriers order the examples; the first of the dataset by default.
    count : int, optional
        How many examples; two rows by default.
    ax : matplotlib Axes, optional
        Where to draw, as cells inside it; by default a new figure in the style of this package.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    ExamplesArtists

    Raises
    ------
    SchemaError
        If the dataset is no barrier result.
    UsageError
        If the dataset has no barriers of examples, or several pairs; for an unknown alignment; if ``examples`` are
        fewer than the dataset's, or neither images nor texts.
    """
    dataset = _checked(dataset)
    names = [str(name) for name in dataset["alignment"].values]
    if alignment is not None and alignment not in names:
        raise unknown("alignment", alignment, names)
    chosen = _order(dataset, alignment or names[0])[: _COLUMNS[size] * 2 if count is None else count]
    if not chosen.size:
        raise UsageError(
            "No example has a barrier that is known." if count is None else f"count is {count}: 1 or more."
        )
    contents = _contents(examples, dataset["example"].values[chosen])
    if ax is not None:
        return _draw(ax, dataset, chosen, contents, alignment or names[0], min(_COLUMNS[size], len(chosen)))
    with house_style(size):
        columns = min(_COLUMNS[size], len(chosen))
        width = SIZES[size][0] * max(columns, 3) / _COLUMNS[size]
        height = _HEIGHT if contents is not None else _HEIGHT * _ALONE
        figure = Figure(figsize=(width, 0.45 + math.ceil(len(chosen) / columns) * height * width / columns))
        artists = _draw(figure.subplots(), dataset, chosen, contents, alignment or names[0], columns)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _checked(dataset: xr.Dataset) -> xr.Dataset:
    check_dataset(dataset, "plot_examples")
    schema.validate(dataset, kind="barrier")
    if "example_barrier" not in dataset:
        raise UsageError("The dataset has no 'example_barrier', by which examples are ordered: measure it again.")
    return single_pair(dataset)


def _order(dataset: xr.Dataset, alignment: str) -> NDArray[np.int64]:
    """Return places of examples along their dim, the greatest barrier first; what is not known is left out."""
    barriers = dataset["example_barrier"].sel(alignment=alignment).values
    order = np.argsort(-barriers, kind="stable")
    return order[np.isfinite(barriers[order])]


def _contents(examples: Any, chosen: NDArray[np.int64]) -> list[Any] | None:
    """Return images, ready to be shown, or texts."""
    if examples is None:
        return None
    if len(examples) <= int(chosen.max()):
        raise UsageError(f"There are {len(examples)} examples, the dataset has one of index {int(chosen.max())}.")
    if all(isinstance(examples[int(i)], str) for i in chosen):
        return [examples[int(i)] for i in chosen]
    images = np.stack([np.asarray(examples[int(i)]) for i in chosen])
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise UsageError(f"Examples of shape {images.shape[1:]} are neither images nor texts: leave out examples.")
    images = images[..., 0] if images.ndim == 4 and images.shape[-1] == 1 else images
    low, high = (float(extreme) for extreme in (images.min(), images.max()))
    return list((images.astype(np.float64) - low) / (high - low or 1.0))


def _draw(
    ax: Axes, dataset: xr.Dataset, chosen: NDArray[np.int64], contents: list[Any] | None, ordered: str, columns: int
) -> ExamplesArtists:
    rows = math.ceil(len(chosen) / columns)
    figure = ax.figure
    assert figure is not None
    ax.set_axis_off()
    highest = float(np.nanmax(dataset["example_loss"].isel(example=chosen).values))
    cells = {}
    for i, place in enumerate(chosen.tolist()):
        at = ((i % columns) / columns, 1 - (i // columns + 1) / rows, 1 / columns, 1 / rows)
        one = dataset.isel(example=place)
        content = None if contents is None else contents[i]
        cells[int(one["example"].item())] = _cell(ax, one, at, content, ordered, highest, first=i % columns == 0)
    lines = next(iter(cells.values())).lines
    what = with_units("loss of each example", dataset["loss"])
    title = f"{what} from A to B; those first that rise most with {ordered}"
    inches = ax.get_window_extent().width / figure.dpi
    letters = max(_LETTERS, int(_LETTERS_PER_INCH * inches))
    longest = max(map(len, lines)) + _HANDLE
    legend = ax.legend(
        handles=list(lines.values()),
        labels=[textwrap.shorten(name, letters - _HANDLE, placeholder=" …") for name in lines],
        title=textwrap.fill(title, letters),
        ncols=max(1, min(len(lines), letters // longest)),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
    )
    legend.set_alignment("left")
    return ExamplesArtists(figure, ax, cells, legend)


def _cell(
    ax: Axes,
    one: xr.Dataset,
    at: tuple[float, float, float, float],
    content: Any,
    ordered: str,
    highest: float,
    *,
    first: bool,
) -> ExampleCell:
    left, bottom, width, height = at
    inner = 0.86 * width
    whole = 1.0 if content is not None else _ALONE  # words are as high in a lower cell
    top = bottom + height * (1 - _TITLE / whole)
    shown = None
    if content is not None:
        place = ax.inset_axes((left, top - _SHOWN * height, inner, _SHOWN * height))
        place.set_axis_off()
        shown = _show(place, content)
    low = bottom + _FOOT / whole * height
    high = top - (_SHOWN + _GAP) * height if content is not None else top
    curve = ax.inset_axes((left, low, inner, high - low))
    lines = _curves(curve, one, highest, first=first)
    barrier = float(one["example_barrier"].sel(alignment=ordered))
    known = f", class {one['example_target'].item()}" if "example_target" in one else ""
    words = f"{one['example'].item()}{known}\nrises {barrier:.2f}"
    title = ax.text(
        left, top + 0.02 * height, words, transform=ax.transAxes, fontsize="x-small", va="bottom", linespacing=1.1
    )
    return ExampleCell(curve, shown, lines, title)


def _show(ax: Axes, content: Any) -> AxesImage | Text:
    if not isinstance(content, str):
        ax.set_anchor("W")
        return ax.imshow(content, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    lines = textwrap.wrap(content, _LETTERS, max_lines=_ROWS_OF_TEXT, placeholder=" …")
    text = "\n".join(lines).replace("$", r"\$")
    return ax.text(0, 1, text, va="top", fontsize="xx-small", family="monospace")


def _curves(ax: Axes, one: xr.Dataset, highest: float, *, first: bool) -> dict[str, Line2D]:
    """Draw the losses of one example, on the scale of all."""
    t = one["t"].values
    losses: Sequence[str] = [str(name) for name in one["alignment"].values]
    lines = {}
    for name in losses:
        values = one["example_loss"].sel(alignment=name).values
        (lines[name],) = ax.plot(t, values, label=name, marker="", linewidth=1.0)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.04 * highest, 1.05 * highest)
    for label, side in zip(ax.set_xticks([0, 1], labels=["A", "B"]), ("left", "right"), strict=True):
        label.label1.set_horizontalalignment(side)
    ax.tick_params(labelsize="xx-small", pad=1)
    ax.tick_params(labelleft=first)
    ax.locator_params(axis="y", nbins=3)
    return lines
