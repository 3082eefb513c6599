"""A fusion table for people and for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from lmc.datasets import AbstractData
    from lmc.pipeline import Fused, Model


def table(result: xr.Dataset) -> str:
    """Lay a fusion table out for reading: a row for each network, with intervals."""
    classified = "accuracy" in result
    rows = [["network", "", "loss", *(["accuracy"] if classified else []), "parameters", "time", ""]]
    for name in result.model.values:
        one = result.sel(model=name)
        cells = [str(name), str(one.role.item()), _with_interval(one, "loss", 1, 3)]
        cells += [_with_interval(one, "accuracy", 100, 2)] if classified else []
        seconds = float(one.seconds_fuse)
        time = "" if math.isnan(seconds) else f"{seconds:.1f} s"
        rows.append([*cells, f"{int(one.parameters):,}", time, str(one.fusion_message.item())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, 1, len(widths) - 1}
    lines = (
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def as_json(made: Fused, models: list[Model], measured: AbstractData | None, written: list[str]) -> dict[str, Any]:
    """Return a fusion as plain values; accuracies in [0, 1], NaN as null."""
    result = made.result
    told: dict[str, Any] = {
        "checkpoints": [{"source": one.checkpoint.source, "sha256": one.checkpoint.digest} for one in models],
        "model": models[0].architecture.reference,
        "method": result.method,
        "mix": list(result.mix),
        "widths": result.widths,
        "message": result.message,
        "objective": _number(result.objective),
        "converged": result.converged,
        "warnings": list(result.warnings),
        "ratio": result.ratio,
        "written": written,
    }
    if made.dataset is None or measured is None:
        return told
    rows = [_row(made.dataset.sel(model=name)) for name in made.dataset.model.values]
    return {**told, "data": measured.reference, "split": measured.split, "rows": rows}


def _row(one: xr.Dataset) -> dict[str, Any]:
    row: dict[str, Any] = {"name": str(one.model.item()), "role": str(one.role.item())}
    for name in ("loss", "accuracy"):
        if name in one:
            row[name] = {"value": float(one[name]), "ci": one[f"{name}_ci"].values.tolist()}
    row |= {"parameters": int(one.parameters), "objective": _number(one.objective)}
    return {**row, "message": str(one.fusion_message.item()), "seconds": _number(one.seconds_fuse)}


def _with_interval(one: xr.Dataset, name: str, scale: float, digits: int) -> str:
    low, high = (scale * float(bound) for bound in one[f"{name}_ci"].values)
    return f"{scale * float(one[name]):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
