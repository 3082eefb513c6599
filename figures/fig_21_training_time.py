"""Barrier along training as it is and by the permutation found at its end."""

from pathlib import Path

import xarray as xr

from lmc.plotting import plot_scaling, save_figure

ROOT = Path(__file__).parents[1]
study = xr.load_dataset(ROOT / "data" / "21_training_time.nc")
artists = plot_scaling(study, x="epoch", variable="loss_barrier", log="")
save_figure(artists.figure, ROOT / "figures" / "out" / "21_training_time.png")
