"""What the figures share: where results are read and figures are written. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from lmc import schema
from lmc.plotting import save_figure

ROOT = Path(__file__).parents[1]


def result(name: str) -> xr.Dataset:
    """Return a committed result, ``data/NAME.nc``."""
    return schema.read(ROOT / "data" / f"{name}.nc")


def save(figure: Figure, name: str) -> None:
    """Write ``figures/out/NAME.pdf`` for print, and NAME.png for the screen."""
    for ending in ("pdf", "png"):
        save_figure(figure, ROOT / "figures" / "out" / f"{name}.{ending}", dpi=200)
    print(f"figures/out/{name}.pdf, .png")
