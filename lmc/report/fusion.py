"""The report of a fusion: parents, baselines and what they were fused into, on the same examples."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from lmc.report.html import Content, Html, code, listed, table
from lmc.report.section import (
    Section,
    Shown,
    confidence,
    examples_of,
    heading,
    number,
    shown_if_drawn,
    units,
    with_interval,
)


def fusion_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``fusion``."""
    runs = dataset.sizes.get("run", 1)
    whole = dataset.isel(run=0) if "run" in dataset.dims else dataset
    one = _short(whole)
    parents = [name for name, role in _roles(one) if role == "parent"]
    stacked = f" The table is of the first of {runs} runs." if runs > 1 else ""
    return Section(
        title=f"Fusion of {' and '.join(parents) or 'networks'}",
        finding=[*_finding(one)],
        figures=_figures(one),
        tables=[_table(one)],
        method=[
            f"All rows were measured on {examples_of(one)}, the same examples for each.{stacked}",
            *_messages(whole),
        ],
        caveats=[
            "Intervals are about the examples: fusing other parents, trained alike, can go differently.",
            "An ensemble runs all its networks: it bounds what one network of that size can be expected to reach.",
        ],
        terms=("fusion", "ensemble", "interval"),
    )


def _short(dataset: xr.Dataset) -> xr.Dataset:
    """Return the table with names of methods without their settings, which are told below it, where they stay apart."""
    names = [str(name) for name in dataset["model"].values]
    short = [re.sub(r"\?[^\s,]*(,\S[^\s,]*)*", "", name) for name in names]
    if len(set(short)) < len(names):
        return dataset
    return dataset.assign_coords(model=("model", short, dict(dataset["model"].attrs)))


def _figures(dataset: xr.Dataset) -> list[Shown]:
    measure = "accuracy" if "accuracy" in dataset else "loss"
    told = [f"{name} ({role}) {_cell(dataset, measure, i)}" for i, (name, role) in enumerate(_roles(dataset))]
    alt = f"{measure.capitalize()} of every model on {examples_of(dataset)}: {'; '.join(told)}."
    caption = f"All models on the same examples; bars are {confidence(dataset.attrs)} intervals."
    return shown_if_drawn(dataset, None, alt, caption)


def _roles(dataset: xr.Dataset) -> list[tuple[str, str]]:
    return [(str(n), str(r)) for n, r in zip(dataset["model"].values, dataset["role"].values, strict=True)]


def _finding(dataset: xr.Dataset) -> list[Content]:
    measure, better = ("accuracy", np.nanargmax) if "accuracy" in dataset else ("loss", np.nanargmin)
    values = dataset[measure].values

    def best(*roles: str) -> int | None:
        rows = [i for i, (_, role) in enumerate(_roles(dataset)) if role in roles and np.isfinite(values[i])]
        return rows[int(better(values[rows]))] if rows else None

    told: list[Content] = []
    for label, found in (
        ("fused", best("fused")),
        ("fine-tuned", best("fine-tuned")),
        ("averaged without alignment", best("baseline")),
        ("the better parent", best("parent")),
        ("the ensemble", best("ensemble")),
    ):
        if found is not None:
            name = _roles(dataset)[found][0]
            told.append([f"{label} ", code(name), f" {_cell(dataset, measure, found)}{units(dataset[measure])}"])
    return [[f"{measure.capitalize()} on {examples_of(dataset)}: ", listed(told)]]


def _cell(dataset: xr.Dataset, measure: str, row: int) -> str:
    if f"{measure}_ci" not in dataset:
        return number(dataset[measure].values[row])
    return with_interval(dataset[measure].values[row], dataset[f"{measure}_ci"].values[row])


def _table(dataset: xr.Dataset) -> Html:
    measures = [name for name in ("loss", "accuracy") if name in dataset]
    further = [name for name in ("parameters", "seconds_fuse") if name in dataset]
    rows = []
    for i, (name, role) in enumerate(_roles(dataset)):
        cells = [_cell(dataset, measure, i) for measure in measures]
        if "parameters" in further:
            cells.append(f"{int(dataset['parameters'].values[i]):,}")
        if "seconds_fuse" in further:
            seconds = float(dataset["seconds_fuse"].values[i])
            cells.append(number(seconds, 1) if np.isfinite(seconds) else "")
        rows.append([code(name), role, *cells])
    head = ["model", "role", *(heading(m, dataset[m]) for m in measures)]
    head += [{"parameters": "parameters", "seconds_fuse": "time (s)"}[name] for name in further]
    return table(f"Models on the same examples [{confidence(dataset.attrs)} interval]", head, rows)


def _messages(dataset: xr.Dataset) -> list[Content]:
    if "fusion_message" not in dataset:
        return []
    messages = zip(_roles(dataset), map(str, dataset["fusion_message"].values), strict=True)
    return [[code(name), f": {message}."] for (name, _), message in messages if message]
