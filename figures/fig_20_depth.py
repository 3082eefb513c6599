"""Barrier against depth with and without alignment."""

from pathlib import Path

import xarray as xr

from lmc.plotting import plot_scaling, save_figure

ROOT = Path(__file__).parents[1]
study = xr.load_dataset(ROOT / "data" / "20_width_depth.nc")
artists = plot_scaling(study, x="depth", variable="depth_loss_barrier", log="")
save_figure(artists.figure, ROOT / "figures" / "out" / "20_depth.png")
