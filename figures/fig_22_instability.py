"""Barrier between children of one parent against the steps that they share."""

from pathlib import Path

import xarray as xr

from lmc.plotting import plot_scaling, save_figure

ROOT = Path(__file__).parents[1]
study = xr.load_dataset(ROOT / "data" / "22_instability.nc")
artists = plot_scaling(study, x="step", variable="error_barrier", log="y", horizontal={"stable under 2%": 0.02})
save_figure(artists.figure, ROOT / "figures" / "out" / "22_instability.png")
