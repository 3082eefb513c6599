"""The report of a sweep: what was done of it, how barriers are spread over pairs, and every pair."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lmc.plotting.kinds import natural_figure
from lmc.report.html import Content, Html, code, listed, table
from lmc.report.section import (
    Section,
    Shown,
    confidence,
    examples_of,
    heading,
    number,
    short_names,
    shown_if_drawn,
    units,
    with_interval,
)

_MOST_ROWS = 400
"""Lines of the table of pairs; a reader of more takes the file."""


def sweep_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``sweep``."""
    checkpoints = len({*map(str, dataset["a"].values), *map(str, dataset["b"].values)})
    return Section(
        title=f"Sweep over {dataset.sizes['pair']:,} pairs of {checkpoints:,} checkpoints",
        finding=[_finding(dataset)],
        figures=_figures(dataset),
        tables=[_spread(dataset), _pairs(dataset)],
        method=[
            f"Barriers of the loss above the chord on {examples_of(dataset)}, at {dataset.sizes['t']} positions of "
            f"each path; intervals of single pairs are {confidence(dataset.attrs)} ones over examples."
        ],
        caveats=_caveats(dataset),
        terms=("path", "barrier", "alignment", "interval"),
    )


def _figures(dataset: xr.Dataset) -> list[Shown]:
    told = [
        f"{name}: {number(values.min())} to {number(values.max())}, median {number(np.median(values))}"
        for name, values in _measured(dataset).items()
        if values.size
    ]
    alt = f"{heading('Loss barrier', dataset['loss_barrier'])} of {dataset.sizes['pair']:,} pairs. {'; '.join(told)}."
    natural = shown_if_drawn(dataset, None, alt, "Loss barriers of all pairs.")
    if natural_figure(dataset) == "barrier-matrix":
        return natural
    return natural + shown_if_drawn(
        dataset, "barrier-matrix", alt, "Before alignment above the diagonal, after it below."
    )


def _chord(dataset: xr.Dataset) -> xr.DataArray:
    return dataset["loss_barrier"].sel(baseline="chord").transpose("pair", "alignment")


def _measured(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    """Return, by alignment, the barriers of the pairs that have one."""
    columns = zip(dataset["alignment"].values, _chord(dataset).values.T, strict=True)
    return {str(name): values[np.isfinite(values)] for name, values in columns}


def _finding(dataset: xr.Dataset) -> Content:
    told = []
    for name, values in _measured(dataset).items():
        middle = number(np.median(values)) if values.size else "n/a"
        told.append([code(name), f" {middle}{units(dataset['loss_barrier'])} over {values.size:,} pairs"])
    return ["Median loss barrier: ", listed(told)]


def _spread(dataset: xr.Dataset) -> Html:
    rows = []
    status = dataset["status"].transpose("pair", "alignment").values.astype(str)
    for i, (name, values) in enumerate(_measured(dataset).items()):
        quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]) if values.size else [np.nan] * 5
        counts = [f"{int((status[:, i] == word).sum()):,}" for word in ("done", "failed", "missing")]
        rows.append([code(name), *counts, *map(number, quantiles)])
    head = ["alignment", "done", "failed", "missing", "least", "quarter", "median", "three quarters", "greatest"]
    return table(f"{heading('Loss barrier', dataset['loss_barrier'])} over pairs", head, rows)


def _pairs(dataset: xr.Dataset) -> Html:
    names = [str(name) for name in dataset["alignment"].values]
    values = _chord(dataset).values
    bounds = dataset["loss_barrier_ci"].sel(baseline="chord").transpose("pair", "alignment", "bound").values
    short = short_names([*map(str, dataset["a"].values), *map(str, dataset["b"].values)])
    rows = [
        [
            f"{short[str(a)]} and {short[str(b)]}",
            *(with_interval(values[pair, i], bounds[pair, i]) for i in range(len(names))),
        ]
        for pair, (a, b) in enumerate(zip(dataset["a"].values, dataset["b"].values, strict=True))
        if pair < _MOST_ROWS
    ]
    left = dataset.sizes["pair"] - len(rows)
    more = f"; the first {len(rows):,}, {left:,} more are in the file" if left else ""
    return table(f"{heading('Loss barrier', dataset['loss_barrier'])} of each pair{more}", ["pair", *names], rows)


def _caveats(dataset: xr.Dataset) -> list[Content]:
    told: list[Content] = [
        "Pairs that share a checkpoint are not independent: an interval over pairs has to resample checkpoints.",
    ]
    left = int((dataset["status"] != "done").sum())
    if left:
        told.append(f"{left:,} of {dataset['status'].size:,} measurements failed or are missing.")
    return told
