"""The basin figure in three dimensions: the loss as a surface over the plane. For show; measure on the flat one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3D, Poly3DCollection, Text3D
from numpy.typing import NDArray

from lmc import schema
from lmc.plotting.artists import AbstractArtists
from lmc.plotting.basin import COLORMAP, field_of
from lmc.plotting.levels import contour_levels
from lmc.plotting.results import check_dataset, label_of
from lmc.plotting.style import figure_size, house_style

_MODE = {
    "color": "black",
    "linewidth": 0.8,
    "marker": "o",
    "markevery": [0],
    "markersize": 4,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "linestyle": "-",
    "zorder": 3,
}


@dataclass(frozen=True)
class SurfaceArtists(AbstractArtists):
    """A surface figure and everything in it."""

    axes: Axes3D
    surface: Poly3DCollection
    modes: Mapping[str, Line3D]
    labels: Mapping[str, Text3D]


def plot_basin_surface(
    dataset: xr.Dataset,
    *,
    ax: Axes3D | None = None,
    elevation: float = 55.0,
    azimuth: float = -100.0,
    size: str = "column",
) -> SurfaceArtists:
    """Draw the loss on a plane as a surface, on a logarithmic axis where it spans more than a factor of three.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result of kind ``basin`` (docs/schema.md).
    ax : Axes3D, optional
        Where to draw (``figure.add_subplot(projection="3d")``); by default a new figure in the style of this package.
    elevation, azimuth : float, in degrees
        Where the viewer stands.
    size : {"column", "page", "slide"}
        Of a new figure: as wide as `lmc.plotting.SIZES` says.

    Returns
    -------
    SurfaceArtists

    Raises
    ------
    SchemaError
        If the dataset is no basin result.
    UsageError
        For what is no dataset.
    """
    check_dataset(dataset, "plot_basin_surface")
    schema.validate(dataset, kind="basin")
    if ax is not None:
        return _draw(ax, dataset, elevation, azimuth)
    with house_style(size):
        figure = Figure(figsize=figure_size(size, 0.88))
        axes = figure.add_subplot(projection="3d", computed_zorder=False)
        assert isinstance(axes, Axes3D)
        artists = _draw(axes, dataset, elevation, azimuth)
        figure.draw_without_rendering()  # ticks are made at the first drawing: make them in this style
    return artists


def _draw(ax: Axes3D, dataset: xr.Dataset, elevation: float, azimuth: float) -> SurfaceArtists:
    values = field_of(dataset, "loss")
    levels = contour_levels(values)
    logarithmic = levels[0] > 0 and levels[-1] >= 3 * levels[0]

    def height(loss: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(loss) if logarithmic else loss  # a logarithmic z axis of matplotlib bends only its labels

    u, v = np.meshgrid(dataset["u"].values, dataset["v"].values)
    shown = np.clip(values, levels[0], levels[-1])
    colors = matplotlib.colormaps[COLORMAP](BoundaryNorm(levels, 256)(shown))  # those of the flat figure
    look = {"rstride": 1, "cstride": 1, "linewidth": 0.15, "edgecolor": "white", "shade": False, "zorder": 1}
    surface = ax.plot_surface(u, v, height(shown), facecolors=colors, **look)
    stem = 0.15 * float(np.ptp(height(levels)))
    modes, labels = {}, {}
    for name in map(str, dataset["mode"].values):
        x, y, loss = (float(dataset[key].sel(mode=name)) for key in ("mode_u", "mode_v", "mode_loss"))
        z = float(height(np.array(loss)))
        (modes[name],) = ax.plot([x, x], [y, y], [z, z + stem], **_MODE)
        labels[name] = ax.text(x, y, z + 1.2 * stem, name, ha="center", fontsize="small", zorder=4)
    ticks = levels[:: max(1, len(levels) // 4)]
    ax.set(xlabel="u", ylabel="v", zlabel=label_of(dataset["loss"]))
    ax.zaxis.set_ticks(height(ticks).tolist(), labels=[f"{tick:g}" for tick in ticks])
    ax.view_init(elevation, azimuth)
    ax.set_box_aspect(None, zoom=0.88)  # pyright: ignore[reportArgumentType]
    return SurfaceArtists(ax.figure, ax, surface, modes, labels)
