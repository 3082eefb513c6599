"""The coupling figure: where every unit of B goes, a plan as an image, a permutation as its displacement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lmc._errors import UsageError
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.groups import check_alignment, units_of, within
from lmc.plotting.style import SIZES, house_style

_MOST = {"column": 6, "page": 12, "slide": 6}  # panels
_COLUMNS = {"column": 2, "page": 4, "slide": 3}
_CELLS = 100  # of an image, along each side
_NORM = LogNorm(1e-3, 1.0, clip=False)
_COLORMAP = colormaps["viridis_r"].with_extremes(under="white")
_BESIDE = 0.55  # inches of a panel that labels take, and of a figure that the colour bar does
_ABOVE = 0.95  # inches of a panel that statistics and labels take
_ZERO = {"color": "0.35", "linewidth": 0.7, "linestyle": (0, (5, 3)), "marker": "", "zorder": 1}
_POINTS = {"color": "#0072B2", "s": 2.5, "linewidths": 0, "zorder": 2}
_STAYS = "#D55E00"


@dataclass(frozen=True)
class CouplingPanel:
    """The artists of one group: an image of its plan, or points of its permutation; and how well it fits, in words."""

    axes: Axes
    image: AxesImage | None
    points: PathCollection | None
    statistics: Text


@dataclass(frozen=True)
class CouplingArtists(AbstractArtists):
    """A coupling figure and everything in it: a panel for each group; the colour bar where there is a plan."""

    panels: Mapping[str, CouplingPanel]
    colorbar: Colorbar | None


def plot_coupling(
    dataset: xr.Dataset,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    groups: Sequence[str] | None = None,
    show: str | None = None,
    size: str = "page",
) -> CouplingArtists:
    """Draw where an alignment puts the units of B, a panel for each permutation group, with how well they fit.

    A plan is an image: rows are units of A, those first whose mass the permutation keeps best, and columns the units of
    B in the order of their partners, so that a firm plan is a sharp diagonal. A permutation is drawn as its
    displacement, how far every unit moves; units that stay are marked.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``alignment`` (docs/schema.md).
    ax : matplotlib Axes or sequence of Axes, optional
        Where to draw, one for each group; by default a new figure in the style of this package.
    groups : sequence of str, optional
        Which groups; by default all, or as many as there is room for, evenly over the network.
    show : {"plan", "permutation"}, optional
        What to draw; by default the plan of a group that has one.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    CouplingArtists

    Raises
    ------
    SchemaError
        If the dataset is no alignment result.
    UsageError
        For an unknown group, for plans that are not in the dataset, for a wrong number of axes.
    """
    check_alignment(dataset, "plot_coupling")
    if show not in (None, "plan", "permutation"):
        raise UsageError(f"show is {show!r}: 'plan' or 'permutation'.")
    if show == "plan" and "plan_mass" not in dataset:
        raise UsageError("The dataset holds no plan: 'ot?soft=true' has one; leave out show, or show='permutation'.")
    if ax is not None:
        given = [ax] if isinstance(ax, Axes) else list(ax)
        units = units_of(dataset, groups)
        if len(given) != len(units):
            raise UsageError(f"{len(units)} groups need as many axes, ax has {len(given)}: choose with groups=[...].")
        return _draw(dataset, dict(zip(units, given, strict=True)), units, show, None)
    with house_style(size):
        units = units_of(dataset, groups)
        units = units if groups is not None else _spread(units, _MOST[size])
        columns = min(_COLUMNS[size], len(units))
        rows = math.ceil(len(units) / columns)
        # One panel alone is as wide as two side by side: it would be a poster.
        width = SIZES[size][0] * max(columns, min(2, _COLUMNS[size])) / _COLUMNS[size]
        bar = _BESIDE if show != "permutation" and "plan_mass" in dataset else 0.0
        inner = (width - bar) / columns - _BESIDE
        figure = Figure(figsize=(width, rows * (inner + _ABOVE)))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for spare in axes[len(units) :]:
            spare.remove()
        artists = _draw(dataset, dict(zip(units, axes, strict=False)), units, show, figure)
        for i, one in enumerate(axes[: len(units)]):  # words once, where they are the same for all
            one.set_ylabel(one.get_ylabel() if i % columns == 0 else "")
            one.set_xlabel(one.get_xlabel() if i + columns >= len(units) else "")
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _spread(units: dict[str, NDArray[np.int64]], most: int) -> dict[str, NDArray[np.int64]]:
    """Return as many groups as there is room for, the first and the last among them."""
    names = list(units)
    if len(names) <= most:
        return units
    chosen = np.linspace(0, len(names) - 1, most).round().astype(int)
    return {names[i]: units[names[i]] for i in chosen}


def _draw(
    dataset: xr.Dataset,
    axes: Mapping[str, Axes],
    units: Mapping[str, NDArray[np.int64]],
    show: str | None,
    whole: Figure | None,
) -> CouplingArtists:
    panels = {}
    for name, one in axes.items():
        plan = None if show == "permutation" else _plan(dataset, units[name])
        panels[name] = _panel(one, dataset, name, units[name], plan)
    images = [panel.axes for panel in panels.values() if panel.image is not None]
    first = next(iter(panels.values())).axes
    figure = first.figure
    assert figure is not None
    bar = None
    if images:
        place = {"ax": list(axes.values()), "aspect": 30} if whole is not None else {"ax": images}
        bar = figure.colorbar(ScalarMappable(_NORM, _COLORMAP), extend="min", **place)
        bar.set_label("share of the unit's mass")
    return CouplingArtists(figure, panels, bar)


def _panel(
    ax: Axes, dataset: xr.Dataset, name: str, units: NDArray[np.int64], plan: NDArray[np.float64] | None
) -> CouplingPanel:
    place, source = within(dataset, units)
    image = points = None
    ax.grid(False)
    if plan is None:
        points = _displacement(ax, place, source)
        ax.set_xlabel("place in A")
        ax.set_ylabel("displacement")
    else:
        image = ax.imshow(plan, norm=_NORM, cmap=_COLORMAP, extent=(0, len(units), len(units), 0), rasterized=True)
        ax.set_xlabel("unit of B, by partner")
        ax.set_ylabel("unit of A, firmest first")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    text = "\n".join([name, *_statistics(dataset, units, place, source, plan is not None)])
    return CouplingPanel(ax, image, points, ax.set_title(text, loc="left", fontsize="small"))


def _displacement(ax: Axes, place: NDArray[np.int64], source: NDArray[np.int64]) -> PathCollection:
    ax.axhline(0, **_ZERO)
    moved = source - place
    points = ax.scatter(place, moved, **_POINTS)
    points.set_color([_STAYS if step == 0 else _POINTS["color"] for step in moved])
    reach = max(1, len(place) - 1)
    ax.set_xlim(-0.04 * reach, 1.04 * reach)
    ax.set_ylim(-1.05 * reach, 1.05 * reach)
    return points


def _statistics(
    dataset: xr.Dataset, units: NDArray[np.int64], place: NDArray[np.int64], source: NDArray[np.int64], plan: bool
) -> list[str]:
    """Say how well a group fits."""
    one = dataset.isel(unit=units)
    before, after = (float(one[f"similarity_{when}"].mean()) for when in ("before", "after"))
    lines = [
        f"{int((source != place).sum()):,} of {len(units):,} units moved",
        f"cosine {before:.2f} → {after:.2f}",
    ]
    if plan and "plan_kept" in one and bool(np.isfinite(one["plan_kept"]).any()):
        kept, partners = float(one["plan_kept"].mean()), float(one["plan_partners"].mean())
        lines.append(f"{100 * kept:.0f}% kept, {partners:.1f} partners")
    return [line.replace("-0.00", "0.00").replace("-", "−") for line in lines]


def _plan(dataset: xr.Dataset, units: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the plan of a group, ordered, as shares of each unit's mass; several units a cell where there are many."""
    if "plan_mass" not in dataset:
        return None
    start, count = int(units[0]), len(units)
    held = (dataset["plan_place"].values >= start) & (dataset["plan_place"].values < start + count)
    if not held.any():
        return None
    rows, columns = (dataset[name].values[held] - start for name in ("plan_place", "plan_unit"))
    mass = dataset["plan_mass"].values[held].astype(np.float64)
    place, source = within(dataset, units)
    total = np.bincount(rows, mass, minlength=count)
    partner = np.empty(count, dtype=np.int64)
    partner[place] = source
    kept = np.bincount(rows, np.where(columns == partner[rows], mass, 0.0), minlength=count)
    order = np.argsort(-kept / np.where(total > 0, total, 1.0), kind="stable")
    rank, column = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    column[partner[order]] = np.arange(count)
    cells = min(count, _CELLS)
    share = mass / np.where(total > 0, total, 1.0)[rows]
    cell = (rank[rows] * cells // count) * cells + column[columns] * cells // count
    image = np.bincount(cell, share, minlength=cells * cells).reshape(cells, cells)
    return image / np.bincount(np.arange(count) * cells // count, minlength=cells)[:, None]
