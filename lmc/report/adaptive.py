"""The report of an adaptive run: whether barriers are below a tolerance, and what that took."""

from __future__ import annotations

import xarray as xr

from lmc.plotting import plot_adaptive
from lmc.report.html import Content, code, listed, table
from lmc.report.literal import literal
from lmc.report.section import (
    Section,
    Shown,
    between,
    confidence,
    examples_of,
    heading,
    need,
    units,
    with_interval,
)


def adaptive_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``adaptive``."""
    need(dataset, "tolerance", "metric", "baseline", "confidence")
    attrs, metric, unit = dataset.attrs, str(dataset.attrs["metric"]), units(dataset["barrier"])
    tolerance = f"{float(attrs['tolerance']):g}{unit}"
    rows, spoken, told = [], [], []
    for name in map(str, dataset["alignment"].values):
        one = dataset.sel(alignment=name)
        verdict = str(one["verdict"].item())
        interval = with_interval(one["barrier"].item(), one["barrier_ci"].values)
        share = float(one["evaluations"]) / float(dataset["evaluations_full"])
        rows.append([code(name), verdict, interval, f"{100 * share:.1f}%"])
        spoken.append(f"{name}: {interval}{unit}, {verdict}.")
        told.append([code(name), f" is {verdict}"])
    start = f"The {metric} barrier between {between(attrs)} against a tolerance of {tolerance}: "
    finding: Content = [start, listed(told, f", at a confidence of {confidence(attrs)}.")]
    alt = f"Height of the {metric} above the baseline at every position that was looked at. {' '.join(spoken)}"
    caption = f"Height above the {attrs['baseline']}; bars are {confidence(attrs)} bounds; dashed: the tolerance."
    head = ["alignment", "verdict", heading(f"{metric} barrier", dataset["barrier"]), "evaluations"]
    return Section(
        title=f"Barrier between {between(attrs)} against a tolerance of {tolerance}",
        finding=[finding],
        figures=[Shown(plot_adaptive(literal(dataset)).figure, alt, caption)],
        tables=[table("Verdicts; evaluations: share of those that a full measurement takes", head, rows)],
        method=[
            f"Examples and positions of {examples_of(dataset)} were added until each barrier was known to be below the "
            f"tolerance or above it. Bounds: {attrs.get('bounds', 'as given')}. Target: the barrier of the "
            f"{attrs.get('target', 'set')}."
        ],
        caveats=["A barrier is known only as closely as its decision took: quote the bounds, not the number alone."],
        terms=("path", "barrier", "alignment", "tolerance"),
    )
