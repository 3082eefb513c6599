"""A barrier for people and for programs: the table, and the values of ``--json``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmc.cli.quantities import quantities
from lmc.cli.repair_lines import repair_values

if TYPE_CHECKING:
    import xarray as xr

    from lmc.datasets import AbstractData
    from lmc.pipeline import Pair


def table(result: xr.Dataset, rows_are: str = "alignment") -> str:
    """Lay a result out for reading: a row per alignment, ends and midpoint, barriers with intervals."""
    classified = "accuracy" in result
    end = "B*" if "only" in result.attrs else "B"  # a layer-wise path ends at a hybrid
    head = [rows_are, "loss A", "mid", end, "loss barrier"]
    head += ["accuracy A", "mid", end, "error barrier"] if classified else []
    rows = [[*head, "time", ""]]
    for name in result.alignment.values:
        one = result.sel(alignment=name)
        cells = [str(name), *_ends(one.loss, 1, 2), _with_interval(one, "loss_barrier", 3, 2)]
        cells += [*_ends(one.accuracy, 100, 2), _with_interval(one, "error_barrier", 3, 2)] if classified else []
        seconds = (_number(one.seconds_evaluate) or 0.0) + (_number(one.get("seconds_align")) or 0.0)
        rows.append([*cells, f"{seconds:.1f} s", str(one.alignment_message.item())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, len(widths) - 1}
    lines = (
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _ends(curve: xr.DataArray, scale: float, digits: int) -> list[str]:
    return [f"{scale * float(curve.sel(t=t)):.{digits}f}" for t in (0.0, 0.5, 1.0)]


def _with_interval(one: xr.Dataset, name: str, digits: int, bounds: int) -> str:
    low, high = (float(v) for v in one[f"{name}_ci"].sel(baseline="chord"))
    return f"{float(one[name].sel(baseline='chord')):.{digits}f} [{low:.{bounds}f}, {high:.{bounds}f}]"


def as_json(result: xr.Dataset, pair: Pair, measured: AbstractData, output: Path, figure: Path) -> dict[str, Any]:
    """Return a result as plain values; accuracies and errors in [0, 1], NaN as null."""
    return {
        "a": {"source": pair.a.checkpoint.source, "sha256": pair.a.checkpoint.digest},
        "b": {"source": pair.b.checkpoint.source, "sha256": pair.b.checkpoint.digest},
        "model": pair.a.architecture.reference,
        "data": measured.reference,
        "split": measured.split,
        "t": result.t.values.tolist(),
        **_way(result),
        "alignments": [_row(result.sel(alignment=name)) for name in result.alignment.values],
        "output": str(output),
        "figure": str(figure),
    }


def _way(result: xr.Dataset) -> dict[str, Any]:
    """Return which way the path takes, where it is not the line between the whole networks."""
    found = {name: json.loads(result.attrs[name]) for name in ("only", "via") if name in result.attrs}
    return found if result.attrs["path"] == "linear" else {**found, "path": result.attrs["path"]}


def _row(one: xr.Dataset) -> dict[str, Any]:
    row: dict[str, Any] = {"name": str(one.alignment.item()), "loss": one.loss.values.tolist()}
    middle = {"loss": float(one.loss.sel(t=0.5))}
    if "accuracy" in one:
        row["accuracy"] = one.accuracy.values.tolist()
        middle["accuracy"] = float(one.accuracy.sel(t=0.5))
    row["midpoint"] = middle
    for name in ("loss_barrier", "error_barrier"):
        if name in one:
            row[name] = {
                str(baseline): {
                    "value": float(one[name].sel(baseline=baseline)),
                    "ci": one[f"{name}_ci"].sel(baseline=baseline).values.tolist(),
                }
                for baseline in one.baseline.values
            }
    if "unrepaired_loss" in one:
        row["repair"] = repair_values(one)
    row |= quantities(one)
    row["objective"] = _number(one.get("objective"))
    seconds = {"align": _number(one.get("seconds_align")) or 0.0, "evaluate": _number(one.seconds_evaluate)}
    return {**row, "message": str(one.alignment_message.item()), "seconds": seconds}


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return None if math.isnan(number) else number
