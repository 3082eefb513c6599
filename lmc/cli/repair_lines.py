"""What REPAIR did, below the table of ``lmc barrier`` and in its JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr


def repair_lines(result: xr.Dataset) -> list[str]:
    """Return a line for each alignment: the midpoint without and with the repair, and how far the variance had sunk."""
    if "unrepaired_loss" not in result:
        return []
    lines = ["", f"REPAIR: {result.attrs['repair']}"]
    for name in result.alignment.values:
        one = result.sel(alignment=name)
        parts = [f"loss {float(one.unrepaired_loss):.3f} -> {float(one.loss.sel(t=0.5)):.3f}"]
        if "unrepaired_accuracy" in one:
            before, after = float(one.unrepaired_accuracy), float(one.accuracy.sel(t=0.5))
            parts.append(f"accuracy {100 * before:.2f} -> {100 * after:.2f}")
        if "unit_std" in one:
            std = one.unit_std.min("layer")
            before, after = float(std.sel(stage="before")), float(std.sel(stage="after"))
            parts.append(f"standard deviations down to {100 * before:.0f}% of the ends' -> {100 * after:.0f}%")
        lines.append(f"{name}: midpoint {', '.join(parts)}")
    return lines


def repair_values(one: xr.Dataset) -> dict[str, Any]:
    """Return what one alignment's midpoint was without the repair, and its units' statistics, as plain values."""
    found: dict[str, Any] = {"unrepaired": {"loss": float(one.unrepaired_loss)}}
    if "unrepaired_accuracy" in one:
        found["unrepaired"]["accuracy"] = float(one.unrepaired_accuracy)
    if "unit_std" in one:
        found["layers"] = [_layer(one.sel(layer=name)) for name in one.layer.values]
    return found


def _layer(one: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {"name": str(one.layer.item()), "treatment": str(one.repair_treatment.item())}
    for key, name in (("std", "unit_std"), ("mean", "unit_mean")):
        found[key] = {str(stage): _number(one[name].sel(stage=stage)) for stage in one.stage.values}
    return found


def _number(value: xr.DataArray) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
