"""The report of a barrier: the curves, a row for each alignment, what the numbers rest on."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lmc.plotting import plot_barrier
from lmc.report.html import Content, Html, code, listed, table
from lmc.report.literal import literal
from lmc.report.section import (
    Section,
    Shown,
    as_mapping,
    between,
    confidence,
    examples_of,
    heading,
    number,
    units,
    with_interval,
)
from lmc.report.stacked import stacked_section

_WORST_CLASSES = 3


def barrier_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``barrier``."""
    if dataset.sizes.get("pair", 1) > 1:
        return stacked_section(dataset)
    dataset = dataset.squeeze("pair") if "pair" in dataset.dims else dataset
    dataset = dataset.sortby("t")
    metrics = ["loss", *(["accuracy"] if "accuracy" in dataset else [])]
    figures = [
        Shown(plot_barrier(literal(dataset), metric=name).figure, _alt(dataset, name), _caption(dataset, name))
        for name in metrics
    ]
    tables = _tables(dataset)
    if "class_error_barrier" in dataset and dataset.sizes["class"] > 1:
        tables.append(_classes(dataset))
    return Section(
        title=f"{'Curve' if _is_curve(dataset) else 'Barrier'} between {between(dataset.attrs)}",
        finding=_finding(dataset),
        figures=figures,
        tables=tables,
        method=_method(dataset),
        caveats=_caveats(dataset),
        terms=("path", "barrier", *(() if _is_curve(dataset) else ("alignment",)), "interval", "error"),
    )


def _is_curve(dataset: xr.Dataset) -> bool:
    return any(str(name).startswith("curve_") for name in dataset.attrs)


def _rows(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["alignment"].values]


def _barriers(dataset: xr.Dataset, name: str) -> list[str]:
    """Return the chord barrier of every row with its interval."""
    chord = dataset.sel(baseline="chord")
    if f"{name}_ci" not in dataset:
        return [number(value) for value in chord[name].values]
    return [
        with_interval(value, bounds)
        for value, bounds in zip(chord[name].values, chord[f"{name}_ci"].values, strict=True)
    ]


def _finding(dataset: xr.Dataset) -> list[Content]:
    names, heights = _rows(dataset), dataset["loss_barrier"].sel(baseline="chord").values
    losses = _barriers(dataset, "loss_barrier")
    errors = _barriers(dataset, "error_barrier") if "error_barrier" in dataset else [""] * len(names)
    unit = units(dataset["loss_barrier"])

    def told(row: int) -> Content:
        error = f", the error by {errors[row]}" if errors[row] else ""
        return [code(names[row]), f", the loss rises by {losses[row]}{unit}{error}"]

    where = f"Along the path between {between(dataset.attrs)}, measured on {examples_of(dataset)}: "
    if not np.isfinite(heights).any():
        return [[where, "no barrier could be measured."]]
    best = int(np.nanargmin(heights))
    rest = [row for row in range(len(names)) if row != best]
    parts: list[Content] = [where, "with ", told(best), " above the chord between the two ends"]
    if not rest:
        return [[*parts, "."]]
    return [[*parts, f": the least of {len(names)}. With ", listed(map(told, rest))]]


def _caption(dataset: xr.Dataset, metric: str) -> Content:
    bands = f"; bands are {confidence(dataset.attrs)} intervals" if f"{metric}_ci" in dataset else ""
    return f"{metric.capitalize()} along the path from A to B{bands}. Dashed: the chord between the ends."


def _alt(dataset: xr.Dataset, metric: str) -> str:
    """Say what the curves do, in numbers."""
    t = dataset["t"].values
    told = [f"{metric.capitalize()} against the position t on the path from A to B, {examples_of(dataset)}."]
    for name in _rows(dataset):
        curve = dataset[metric].sel(alignment=name).values
        if not np.isfinite(curve).all():
            told.append(f"{name}: not known everywhere.")
            continue
        away = curve - ((1 - t) * curve[0] + t * curve[-1])
        peak = int(np.argmax(away if metric == "loss" else -away))
        unit = units(dataset[metric])
        line = f"{name}: {number(curve[0])} at A, {number(curve[peak])} at t = {t[peak]:.2f}, {number(curve[-1])} at B"
        told.append(f"{line}{unit}.")
    return " ".join(told)


def _tables(dataset: xr.Dataset) -> list[Html]:
    first = "path" if _is_curve(dataset) else "alignment"
    columns: list[tuple[str, list[str]]] = [
        (heading(name.replace("_", " "), dataset[name]), _barriers(dataset, name))
        for name in ("loss_barrier", "error_barrier")
        if name in dataset
    ]
    caption = f"Barriers above the chord [{confidence(dataset.attrs)} interval]"
    if "broken" in dataset:
        columns.append(("broken", [number(value) for value in dataset["broken"].values]))
        caption += "; broken: share of the examples that both ends have right and the middle has wrong"
    barriers = table(caption, [first, *(label for label, _ in columns)], _lines(dataset, columns))
    t = dataset["t"].values
    half = int(np.argmin(np.abs(t - 0.5)))
    ends: list[tuple[str, list[str]]] = []
    for name in ("loss", "accuracy"):
        if name in dataset:
            for label, at in (("A", 0), ("middle", half), ("B", -1)):
                values = [number(value) for value in dataset[name].values[:, at]]
                ends.append((f"{heading(name, dataset[name])}, {label}", values))
    caption = f"Ends of the path and its middle (t = {t[half]:.2g})"
    return [barriers, table(caption, [first, *(label for label, _ in ends)], _lines(dataset, ends))]


def _lines(dataset: xr.Dataset, columns: list[tuple[str, list[str]]]) -> list[list[Content]]:
    return [[code(name), *(values[row] for _, values in columns)] for row, name in enumerate(_rows(dataset))]


def _classes(dataset: xr.Dataset) -> Html:
    """Say which classes break, those first whose error rises most without alignment."""
    barriers = dataset["class_error_barrier"]
    order = np.argsort(-np.nan_to_num(barriers.values.max(axis=0)), kind="stable")[:_WORST_CLASSES]
    classes = barriers["class"].values[order]
    rows = [
        [code(name), *(number(value) for value in barriers.values[i, order])] for i, name in enumerate(_rows(dataset))
    ]
    head = ["path" if _is_curve(dataset) else "alignment", *(f"class {one}" for one in classes)]
    return table(f"Error barrier of the {len(order)} classes that break most, of {barriers.sizes['class']}", head, rows)


def _method(dataset: xr.Dataset) -> list[Content]:
    attrs = dataset.attrs
    told: list[Content] = [
        [
            f"Loss ({attrs.get('loss_function', 'as given')}) {'and accuracy ' if 'accuracy' in dataset else ''}on "
            f"{examples_of(dataset)}, at {dataset.sizes['t']} positions between A and B. Every position sees the same "
            "examples, and every example counts the same."
        ]
    ]
    settings = as_mapping(attrs, "alignments")
    messages = dataset.get("alignment_message")
    if settings:
        said = {} if messages is None else dict(zip(_rows(dataset), map(str, messages.values), strict=True))
        ways = [
            [code(name), " is ", code(setting), f" ({said[name]})" if said.get(name) else ""]
            for name, setting in settings.items()
        ]
        plain = [[code("none"), " is B as it is"]] if "none" in _rows(dataset) else []
        told.append(["Alignments: ", listed([*plain, *ways])])
    for name, label in (("interpolation", "Path"), ("repair", "Statistics"), ("batchnorm", "BatchNorm")):
        if str(attrs.get(name, "")) not in ("", "none in the network"):
            told.append(f"{label}: {attrs[name]}.")
    if "only" in attrs:
        told.append(f"Only these modules move, the rest stays at A: {attrs['only']}.")
    if "bootstrap" in attrs:
        resamples = attrs.get("bootstrap_resamples", "")
        told.append(f"Intervals ({confidence(attrs)}): bootstrap {attrs['bootstrap']}; {resamples} resamples.")
    return told


def _caveats(dataset: xr.Dataset) -> list[Content]:
    told: list[Content] = [
        "Intervals are about the examples. Another pair of networks, trained alike, can differ by more.",
        f"The path is seen at {dataset.sizes['t']} positions; a narrow peak between two of them is not.",
    ]
    if not _is_curve(dataset):
        told.append(
            "A barrier that is left after alignment does not prove that no permutation removes it: it is the barrier "
            "for the permutation that was found. A barrier on the straight path does not exclude a curve without one."
        )
    if "repair" in dataset.attrs:
        told.append("Curves are those of the repaired path, the ends treated as the positions between them.")
    return told
