"""The report of a basin: the plane, who shares a component, how high the saddles are."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from lmc.plotting import plot_basin
from lmc.report.html import Content, Html, table
from lmc.report.literal import literal
from lmc.report.section import (
    Section,
    Shown,
    as_mapping,
    between,
    checkpoint_names,
    confidence,
    examples_of,
    heading,
    number,
    sentence,
    units,
    with_interval,
)


def basin_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``basin``."""
    metrics = ["loss", *(["error"] if "accuracy" in dataset else [])]
    figures = [
        Shown(plot_basin(literal(dataset), metric=name).figure, _alt(dataset, name), _caption(dataset, name))
        for name in metrics
    ]
    modes = _modes(dataset)
    return Section(
        title=f"Basin of {between(dataset.attrs)}",
        finding=_finding(dataset),
        figures=figures,
        tables=[_table(dataset), *([_saddles(dataset)] if len(modes) > 1 else [])],
        method=_method(dataset),
        caveats=_caveats(dataset),
        terms=("mode", "component", *(("saddle",) if len(modes) > 1 else ()), "interval", "error"),
    )


def _modes(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset["mode"].values]


def _level(dataset: xr.Dataset) -> str:
    return f"{float(dataset['level'].values[0]):g}{units(dataset['loss'])}"


def _shared(dataset: xr.Dataset) -> list[str]:
    """Say which modes lie in one component at the first level, and which do not."""
    held: dict[int, list[str]] = {}
    for name, label in zip(_modes(dataset), dataset["mode_component"].values[0].tolist(), strict=True):
        held.setdefault(int(label), []).append(name)
    above = held.pop(0, [])
    told = [
        f"{' and '.join(names)} {'lie in one component' if len(names) > 1 else 'lies in a component of its own'}"
        for names in held.values()
    ]
    return [*told, *([f"{' and '.join(above)} above the level"] if above else [])]


def _finding(dataset: xr.Dataset) -> list[Content]:
    where = f"On this plane, at loss ≤ {_level(dataset)} on {examples_of(dataset)}, "
    return [f"{where}{'; '.join(_shared(dataset))}."]


def _caption(dataset: xr.Dataset, metric: str) -> Content:
    names = checkpoint_names(dataset.attrs)
    who = ", ".join(f"{letter} is {name}" for letter, name in names.items() if letter in _modes(dataset))
    copies = [name for name in _modes(dataset) if str(dataset["mode_copy_of"].sel(mode=name).item())]
    who += "".join(f", {name} computes the same as {dataset['mode_copy_of'].sel(mode=name).item()}" for name in copies)
    shown = "Loss" if metric == "loss" else "Error"
    return f"{shown} on the plane{f'; {who}' if who else ''}. Outlined: the components of loss ≤ {_level(dataset)}."


def _alt(dataset: xr.Dataset, metric: str) -> str:
    values = dataset["loss"].values if metric == "loss" else 1 - dataset["accuracy"].values
    unit = units(dataset["loss"]) if metric == "loss" else ""
    at = dataset["mode_loss"].values if metric == "loss" else 1 - dataset["mode_accuracy"].values
    modes = [
        f"{name} at u = {u:.1f}, v = {v:.1f} with {metric} {number(value)}"
        for name, u, v, value in zip(
            _modes(dataset), dataset["mode_u"].values, dataset["mode_v"].values, at, strict=True
        )
    ]
    span = f"from {number(np.nanmin(values))} to {number(np.nanmax(values))}{unit}"
    kind = f"Contours of the {metric} on a plane of parameters, {examples_of(dataset)}, {span}"
    return f"{kind}. Modes: {'; '.join(modes)}. At loss ≤ {_level(dataset)}: {'; '.join(_shared(dataset))}."


def _table(dataset: xr.Dataset) -> Html:
    names = checkpoint_names(dataset.attrs)
    copies = [str(name) for name in dataset["mode_copy_of"].values]
    rows = []
    for i, name in enumerate(_modes(dataset)):
        area, edge = float(dataset["component_area"].values[0, i]), bool(dataset["component_open"].values[0, i])
        accuracy = [number(dataset["mode_accuracy"].values[i])] if "mode_accuracy" in dataset else []
        loss = [number(dataset[one].values[i]) for one in ("mode_loss", "escape_loss")]
        what = names.get(name) or (f"copy of {names.get(copies[i], copies[i])}" if copies[i] else "")
        rows.append([name, what, loss[0], *accuracy, loss[1], f"{'at least ' if edge else ''}{number(area, 1)}"])
    unit = str(dataset["loss"].attrs["units"])
    head = ["mode", "file", heading("loss", dataset["loss"]), *(["accuracy"] if "mode_accuracy" in dataset else [])]
    escape = "loss at the border" + ("" if unit == "1" else f" ({unit})")
    caption = (
        "Modes; loss at the border: the least loss that every path from the mode to the border has to reach; area: of "
        f"the mode's component of loss ≤ {_level(dataset)}"
    )
    return table(caption, [*head, escape, "area"], rows)


def _saddles(dataset: xr.Dataset) -> Html:
    modes = _modes(dataset)
    measures = [name for name in ("saddle_loss", "saddle_error") if name in dataset]
    rows = []
    for i, j in itertools.combinations(range(len(modes)), 2):
        cells = []
        for name in measures:
            bounds = dataset[f"{name}_ci"].values[i, j] if f"{name}_ci" in dataset else None
            value = dataset[name].values[i, j]
            cells.append(number(value) if bounds is None else with_interval(value, bounds))
        rows.append([f"{modes[i]} and {modes[j]}", *cells])
    head = ["between", *(heading(name.replace("_", " "), dataset[name]) for name in measures)]
    return table(f"Saddles [{confidence(dataset.attrs)} interval]", head, rows)


def _method(dataset: xr.Dataset) -> list[Content]:
    attrs = dataset.attrs
    shape = f"{dataset.sizes['u']} × {dataset.sizes['v']}"
    told: list[Content] = [
        f"Loss ({attrs.get('loss_function', 'as given')}) on {examples_of(dataset)}, at {shape} points of a plane, "
        f"every mode on one of them. {sentence(attrs.get('plane', ''))}"
    ]
    settings = as_mapping(attrs, "alignments")
    if settings:
        message = f" ({attrs['alignment_message']})" if attrs.get("alignment_message") else ""
        told.append(f"The aligned copy is by {', '.join(map(str, settings.values()))}{message}.")
    if "bootstrap" in attrs:
        told.append(f"Intervals ({confidence(attrs)}): bootstrap {attrs['bootstrap']}.")
    return told


def _caveats(dataset: xr.Dataset) -> list[Content]:
    told: list[Content] = [
        "A saddle is one of this plane and this grid: another plane can have a lower one, and a finer grid can lower "
        "or raise it. Modes in two components here may be joined by a path outside the plane."
    ]
    if dataset["component_open"].values.any():
        told.append("A component that reaches the border goes on beyond it: its area is a lower bound.")
    return told
