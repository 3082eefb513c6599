"""The figure of an adaptive run: what was looked at, how sure each position is, and the tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from lmc import schema
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.results import BASELINES, check_dataset, single_pair, with_units
from lmc.plotting.style import house_style

_ASIDE = 0.004  # of the axis, between the bars of two alignments at one position


@dataclass(frozen=True)
class AdaptiveArtists(AbstractArtists):
    """The figure of an adaptive run and everything in it, to be changed at will."""

    axes: Axes
    bars: Mapping[str, ErrorbarContainer]
    tolerance: Line2D
    legend: Legend


def plot_adaptive(dataset: xr.Dataset, *, ax: Axes | None = None, size: str = "column") -> AdaptiveArtists:
    """Draw the rise above the baseline at every position that was evaluated, with its bounds, and the tolerance.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``adaptive`` (docs/schema.md).
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure in the style of this package.
    size : {"column", "page", "slide"}
        Of a new figure (`lmc.plotting.SIZES`).

    Returns
    -------
    AdaptiveArtists
        The figure, and the bars of each alignment.

    Raises
    ------
    SchemaError
        If the dataset is no adaptive result.
    UsageError
        For a dataset of several pairs.
    """
    check_dataset(dataset, "plot_adaptive")
    schema.validate(dataset, kind="adaptive")
    dataset = single_pair(dataset)
    if ax is not None:
        return _draw(dataset, ax)
    with house_style(size):
        figure = Figure()
        artists = _draw(dataset, figure.subplots())
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _draw(dataset: xr.Dataset, ax: Axes) -> AdaptiveArtists:
    tolerance = float(dataset.attrs["tolerance"])
    line = ax.axhline(tolerance, color="0.35", linestyle=(0, (5, 3)), linewidth=0.7, marker="")
    ax.axhline(0, color="0.8", linewidth=0.7, marker="", zorder=0)
    bars = {}
    for place, name in enumerate(dataset["alignment"].values):
        one = dataset.sel(alignment=name)
        known = one["examples"].values > 0
        t, rise, bounds = one["t"].values[known], one["rise"].values[known], one["rise_ci"].values[known].T
        offset = _ASIDE * (place - (dataset.sizes["alignment"] - 1) / 2)
        apart = np.abs(bounds - rise).clip(min=0.0)
        bars[str(name)] = ax.errorbar(t + offset, rise, yerr=apart, label=_entry(one), capsize=1.5, elinewidth=0.8)
    ax.set_xlabel(dataset["t"].attrs["long_name"])
    kind = f"{dataset['split'].item()} {dataset.attrs['metric']} above the {BASELINES[dataset.attrs['baseline']]}"
    ax.set_ylabel(with_units(kind, dataset["rise"]))
    title = f"against a tolerance of {tolerance:g} (dashed); bars: {100 * float(dataset.attrs['confidence']):g}% bounds"
    legend = ax.legend(
        handles=list(bars.values()), title=title, alignment="left", loc="lower left", bbox_to_anchor=(0, 1)
    )
    return AdaptiveArtists(ax.figure, ax, bars, line, legend)


def _entry(one: xr.Dataset) -> str:
    share = int(one["evaluations_full"]) / int(one["evaluations"])
    return f"{one['alignment'].item()}: {one['verdict'].item()}, 1/{share:.0f} of the evaluations"
