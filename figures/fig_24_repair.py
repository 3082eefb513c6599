"""Error barrier of matched networks against depth, before and after their statistics are repaired."""

from pathlib import Path

import xarray as xr

from lmc.plotting import plot_scaling, save_figure

ROOT = Path(__file__).parents[1]
study = xr.load_dataset(ROOT / "data" / "24_repair.nc")
for norm in study.norm.values:
    matched = study[["error_barrier"]].sel(norm=norm, alignment="weights").rename(stage="alignment")
    whole = (
        study.drop_dims(["alignment", "stage"])
        .drop_vars(["alignment", "stage"], errors="ignore")
        .merge(matched.drop_vars(["alignment"], errors="ignore"))
    )
    artists = plot_scaling(whole.assign_attrs(study.attrs), x="depth", variable="error_barrier", log="")
    save_figure(artists.figure, ROOT / "figures" / "out" / f"24_repair_{norm}.png")
