"""The report of a conjecture run: the verdict, the matrix, the controls, the caveats."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lmc.report.html import Content, Html, code, el, table
from lmc.report.section import (
    Section,
    Shown,
    as_list,
    confidence,
    examples_of,
    heading,
    need,
    number,
    short_names,
    shown_if_drawn,
    units,
    with_interval,
)

_SHORT = {
    "connected": ("connected", "good"),
    "not connected by anything tried": ("not by anything tried", "bad"),
    "not connected by any permutation": ("not by any permutation", "bad"),
}
_MOST_MODELS = 14
"""In a matrix that a page can hold; pairs are listed all the same."""


def conjecture_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``conjecture``."""
    need(dataset, "summary", "metric", "tolerance")
    used = [str(m) for m, s in zip(dataset["model"].values, dataset["model_status"].values, strict=True) if s == "used"]
    tables = [_matrix(dataset, used)] if 2 < len(used) <= _MOST_MODELS else []
    tables += [_pairs(dataset), _tries(dataset)]
    tables += [_controls(dataset)] if dataset.sizes["control"] else []
    return Section(
        title=f"Are these {len(used)} networks linearly connected, up to a permutation?",
        finding=[str(dataset.attrs["summary"]), *_set(dataset)],
        figures=_figures(dataset, used),
        tables=[*tables, _models(dataset)],
        method=_method(dataset),
        caveats=as_list(dataset.attrs, "caveats"),
        terms=("path", "barrier", "alignment", "tolerance", "control", "interval"),
    )


def _figures(dataset: xr.Dataset, used: list[str]) -> list[Shown]:
    words = [str(word) for word in dataset["verdict"].values]
    told = "; ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    verdicts = shown_if_drawn(
        dataset,
        None,
        f"Verdicts on the {dataset.sizes['pair']} pairs of {len(used)} checkpoints: {told}. The table below has each.",
        "The verdict on every pair.",
    )
    chosen = [_barrier(dataset, pair) for pair in range(dataset.sizes["pair"])]
    if len(used) < 3:
        return verdicts
    return verdicts + shown_if_drawn(
        dataset,
        "barrier-matrix",
        f"{_barrier_heading(dataset).capitalize()} of every pair before alignment (upper triangle) and by the method "
        f"that was chosen (lower). Chosen: {', '.join(chosen[:30])}.",
        "Barriers before alignment above the diagonal, by the chosen method below it.",
    )


def _pairs_of(dataset: xr.Dataset) -> list[tuple[str, str]]:
    return [(str(a), str(b)) for a, b in zip(dataset["a"].values, dataset["b"].values, strict=True)]


def _barrier_heading(dataset: xr.Dataset) -> str:
    return heading(f"{dataset.attrs['metric']} barrier", dataset["barrier"])


def _verdict(word: str) -> Html:
    short, tone = _SHORT.get(word, (word, None))
    return el("span", short, class_=tone)


def _barrier(dataset: xr.Dataset, pair: int) -> str:
    """Return the barrier of the method that was chosen, with its interval."""
    row = dataset.isel(pair=pair)
    method = str(row["method"].item())
    if method not in dataset["alignment"].values:
        return "n/a"
    row = row.sel(alignment=method)
    return with_interval(row["barrier"].item(), row["barrier_ci"].values)


def _matrix(dataset: xr.Dataset, used: list[str]) -> Html:
    cells: dict[frozenset[str], Content] = {}
    for pair, (a, b) in enumerate(_pairs_of(dataset)):
        verdict = str(dataset["verdict"].values[pair])
        cells[frozenset((a, b))] = [_verdict(verdict), el("br"), _barrier(dataset, pair)]
    short = short_names(used)
    rows = [[code(short[a]), *("" if a == b else cells.get(frozenset((a, b)), "") for b in used)] for a in used]
    caption = f"Verdict and {_barrier_heading(dataset)} of every pair"
    return table(caption, ["", *(code(short[name]) for name in used)], rows)


def _pairs(dataset: xr.Dataset) -> Html:
    rows = []
    for pair, (a, b) in enumerate(_pairs_of(dataset)):
        row = dataset.isel(pair=pair)
        cells: list[Content] = [_verdict(str(row["verdict"].item())), _barrier(dataset, pair)]
        strong = [_verdict(str(row["strong_verdict"].item()))] if "strong_verdict" in dataset else []
        method = code(row["method"].item())
        rows.append(
            [[code(a), " and ", code(b)], *cells, method, number(row["p"].item()), *strong, str(row["why"].item())]
        )
    strong = ["one permutation per model"] if "strong_verdict" in dataset else []
    head = ["pair", "verdict", _barrier_heading(dataset), "by", "error probability", *strong, "why"]
    return table("Every pair; error probabilities are corrected for all pairs", head, rows, numbers=False)


def _tries(dataset: xr.Dataset) -> Html:
    names = [str(name) for name in dataset["alignment"].values]
    rows = []
    for pair, (a, b) in enumerate(_pairs_of(dataset)):
        row = dataset.isel(pair=pair).transpose("alignment", ...)
        cells = [
            with_interval(row["barrier"].values[i], row["barrier_ci"].values[i])
            if row["tried"].values[i]
            else "not tried"
            for i in range(len(names))
        ]
        rows.append([[code(a), " and ", code(b)], *cells])
    caption = f"{_barrier_heading(dataset).capitalize()} by each method"
    return table(caption, ["pair", *map(code, names)], rows)


def _controls(dataset: xr.Dataset) -> Html:
    rows = []
    for i, name in enumerate(dataset["control"].values):
        passed = bool(dataset["control_passed"].values[i])
        answer = el("span", "passed" if passed else "failed", class_="good" if passed else "bad")
        interval = with_interval(dataset["control_barrier"].values[i], dataset["control_ci"].values[i])
        rows.append([str(name), answer, interval, str(dataset["control_message"].values[i])])
    head = ["control", "result", _barrier_heading(dataset), "what it means"]
    return table("Controls, whose answers are known", head, rows, numbers=False)


def _models(dataset: xr.Dataset) -> Html:
    accuracy = "model_accuracy" in dataset
    rows = []
    for i, name in enumerate(dataset["model"].values):
        cells = [number(dataset["model_loss"].values[i])]
        cells += [number(dataset["model_accuracy"].values[i])] if accuracy else []
        rows.append([code(name), *cells, str(dataset["model_status"].values[i])])
    head = ["checkpoint", heading("loss", dataset["model_loss"]), *(["accuracy"] if accuracy else []), "status"]
    return table("Checkpoints", head, rows, numbers=False)


def _set(dataset: xr.Dataset) -> list[Content]:
    told: list[Content] = []
    if "fraction_connected_ci" in dataset:
        share = with_interval(dataset["fraction_connected"].item(), dataset["fraction_connected_ci"].values)
        told.append(f"Share of connected pairs: {share} over the draw of the models.")
    if "strong_verdict" in dataset:
        strong = int((dataset["strong_verdict"] == "connected").sum())
        told.append(f"With one permutation for each model, {strong} of {dataset.sizes['pair']} pairs are connected.")
    failed = dataset["control"].values[~dataset["control_passed"].values.astype(bool)]
    if failed.size:
        told.append(f"Not all controls passed: {', '.join(map(str, failed))}.")
    return told


def _method(dataset: xr.Dataset) -> list[Content]:
    attrs = dataset.attrs
    tolerance = f"{float(attrs['tolerance']):g}{units(dataset['barrier'])}"
    counted = int(np.isfinite(dataset["barrier"].values).sum())
    return [
        [
            "For each pair the methods ",
            [[code(name), ", "] for name in map(str, dataset["alignment"].values)],
            f"were tried in this order until one connected it ({counted} barriers in all), on {examples_of(dataset)} "
            f"at {dataset.sizes['t']} positions of the path.",
        ],
        "The method was chosen on one half of the examples; the barrier reported is that of the other half.",
        f"Connected: the barrier of the {attrs['metric']} is under {tolerance}, at a confidence of {confidence(attrs)} "
        "for all claims together. Not connected by anything tried: it is over it for every method.",
    ]
