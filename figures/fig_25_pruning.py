"""Barrier along iterative pruning as it is and by the dense permutation."""

from pathlib import Path

import xarray as xr

from lmc.plotting import plot_scaling, save_figure

ROOT = Path(__file__).parents[1]
study = xr.load_dataset(ROOT / "data" / "25_pruning.nc")
artists = plot_scaling(study, x="density", variable="loss_barrier", log="x")
save_figure(artists.figure, ROOT / "figures" / "out" / "25_pruning.png")
