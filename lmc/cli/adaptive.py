"""What ``lmc barrier --adaptive`` prints: verdicts, what they rest on, and what they cost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmc._errors import UsageError

if TYPE_CHECKING:
    import xarray as xr

    from lmc.datasets import AbstractData
    from lmc.pipeline import Pair


def settings(adaptive: bool, tolerance: float | None, metric: str | None, confidence: float) -> dict[str, Any]:
    """Return the settings of the measurement that concern certainty.

    Raises
    ------
    UsageError
        If some are given without ``--adaptive``, or make no sense.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"--confidence lies between 0 and 1 (0.95, say), got {confidence:g}.")
    if not adaptive:
        for flag, value in (("--tolerance", tolerance), ("--metric", metric)):
            if value is not None:
                raise UsageError(f"{flag} {value} goes with --adaptive: without it everything is measured.")
        return {"confidence": confidence}
    tolerance = 0.02 if tolerance is None else tolerance
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise UsageError(f"--tolerance must be a positive number (0.02, say), got {tolerance}.")
    return {"adaptive": True, "tolerance": tolerance, "metric": metric or "loss", "confidence": confidence}


def table(result: xr.Dataset) -> str:
    """Lay an adaptive result out for reading: a row per alignment."""
    metric, confidence = result.attrs["metric"], 100 * float(result.attrs["confidence"])
    end = "B*" if "only" in result.attrs else "B"  # a layer-wise path ends at a hybrid, which may well be worse than A
    head = [
        "alignment",
        "loss A",
        end,
        f"{metric} barrier",
        f"{confidence:g}% sure",
        "verdict",
        "positions",
        "examples",
    ]
    rows = [[*head, "evaluations", "of all", "time", ""]]
    for name in result.alignment.values:
        one = result.sel(alignment=name)
        used, whole = int(one.evaluations), int(one.evaluations_full)
        seconds = float(one.seconds_evaluate) + _seconds(one.get("seconds_align"))
        cells = [str(name), *(f"{float(one.loss.isel(t=k)):.2f}" for k in (0, -1)), f"{float(one.barrier):.3f}"]
        cells += [_interval(one), str(one.verdict.item())]
        cells += [f"{int((one.examples > 0).sum())} of {one.sizes['t']}", f"{int(one.examples.max()):,}", f"{used:,}"]
        rows.append([*cells, f"{100 * used / whole:.1f}%", f"{seconds:.1f} s", str(one.alignment_message.item())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, 5, len(widths) - 1}
    lines = (
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    asked = f"tolerance {float(result.attrs['tolerance']):g}, on a grid of {result.sizes['t']} positions"
    return "\n".join([*(line.rstrip() for line in lines), "", asked])


def _interval(one: xr.Dataset) -> str:
    low, high = one.barrier_ci.values
    return f"[{low:.3f}, {high:.3f}]" if math.isfinite(high) else f"above {low:.3f}"


def _seconds(value: Any) -> float:
    number = 0.0 if value is None else float(value)
    return 0.0 if math.isnan(number) else number


def as_json(result: xr.Dataset, pair: Pair, measured: AbstractData, output: Path, figure: Path) -> dict[str, Any]:
    """Return an adaptive result as plain values; null where a bound is open."""
    looks = json.loads(result.attrs["looks"])
    return {
        "a": {"source": pair.a.checkpoint.source, "sha256": pair.a.checkpoint.digest},
        "b": {"source": pair.b.checkpoint.source, "sha256": pair.b.checkpoint.digest},
        "model": pair.a.architecture.reference,
        "data": measured.reference,
        "split": measured.split,
        **{name: result.attrs[name] for name in ("metric", "baseline", "target", "tolerance", "confidence")},
        "t": result.t.values.tolist(),
        "evaluations_full": int(result.evaluations_full),
        "alignments": [_row(result.sel(alignment=name), looks[str(name)]) for name in result.alignment.values],
        "output": str(output),
        "figure": str(figure),
    }


def _row(one: xr.Dataset, looks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": str(one.alignment.item()),
        "verdict": str(one.verdict.item()),
        "barrier": {"value": float(one.barrier), "ci": [_finite(bound) for bound in one.barrier_ci.values]},
        "rise": [_finite(value) for value in one.rise.values],
        "examples": one.examples.values.tolist(),
        "evaluations": int(one.evaluations),
        "looks": looks,
        "message": str(one.alignment_message.item()),
        "seconds": {"align": _seconds(one.get("seconds_align")), "evaluate": float(one.seconds_evaluate)},
    }


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
