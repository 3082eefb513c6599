"""Barrier against the learning rate with plain and covariance-weighted matching."""

from pathlib import Path

import xarray as xr

from lmc.plotting import plot_scaling, save_figure

ROOT = Path(__file__).parents[1]
study = xr.load_dataset(ROOT / "data" / "23_dimension.nc")
artists = plot_scaling(study, x="lr", variable="loss_barrier", log="x")
save_figure(artists.figure, ROOT / "figures" / "out" / "23_dimension.png")
