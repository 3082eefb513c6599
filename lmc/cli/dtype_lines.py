"""What half precision did to the ends, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def dtype_lines(result: xr.Dataset) -> list[str]:
    """Say by how much the ends differ from float32, where they were computed in less."""
    if "dtype_loss_difference" not in result:
        return []
    loss = float(abs(result.dtype_loss_difference).max())
    line = f"{result.attrs['dtype']}: losses of the ends differ from float32 by up to {loss:.2g}"
    if "dtype_accuracy_difference" in result:
        line += f", accuracies by up to {100 * float(abs(result.dtype_accuracy_difference).max()):.2f} points"
    return ["", line]
