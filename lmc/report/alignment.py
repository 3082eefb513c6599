"""The report of an alignment: how many units moved, how alike the units are, how it ended."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lmc.plotting.groups import units_of
from lmc.report.html import Content, Html, code, table
from lmc.report.section import Section, Shown, between, need, number, shown_if_drawn


def alignment_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``alignment``."""
    need(dataset, "alignment", "message")
    attrs = dataset.attrs
    moved, units = int(_moved(dataset).sum()), dataset.sizes["unit"]
    before, after = (float(dataset[f"similarity_{when}"].mean()) for when in ("before", "after"))
    method: list[Content] = [
        ["Method: ", code(attrs["alignment"]), f"; {attrs['message']}. Seed {attrs.get('seed', 'not given')}."]
    ]
    if attrs.get("objective_name"):
        method.append(
            f"It maximises {attrs['objective_name']}: {number(dataset['final_objective'].item())} at the end."
        )
    loss = float(dataset["rounding_loss"])
    if "plan_mass" in dataset and loss:
        method.append(
            f"In the objective the permutation is {number(abs(loss))} {'worse' if loss > 0 else 'better'} than the "
            "plan that it was rounded from."
        )
    finding: list[Content] = [
        [
            f"{moved:,} of {units:,} units of B move; the mean cosine with A's unit goes from {number(before)} to "
            f"{number(after)}."
        ]
    ]
    return Section(
        title=f"Alignment of {between(attrs)}",
        finding=finding,
        figures=_figures(dataset),
        tables=[_table(dataset)],
        method=method,
        caveats=["Units alike in weights need not be alike in what they compute; the barrier is the measure of that."],
        terms=("alignment", "similarity", *(("transport plan",) if "plan_mass" in dataset else ())),
    )


def _figures(dataset: xr.Dataset) -> list[Shown]:
    if not dataset.sizes["unit"]:
        return []
    told = []
    for name, units in units_of(dataset).items():
        values = [float(dataset[f"similarity_{when}"].values[units].mean()) for when in ("before", "after")]
        told.append(f"{name}: {number(values[0])} before, {number(values[1])} after")
    seen = " and correlation of activations" if "correlation_after" in dataset else ""
    matching = shown_if_drawn(
        dataset,
        "matching",
        f"Cosine of weights{seen} of A's and B's units before and after alignment. Mean cosines: {'; '.join(told)}.",
        "How alike units are before and after alignment: the median of each permutation group, and 5 to 95% of units.",
    )
    plan = "plan_mass" in dataset
    what = "How the mass of B's units lies over A's" if plan else "How far each unit of B is displaced"
    kept = ""
    if "plan_kept" in dataset:
        kept = f" The permutation keeps {100 * float(dataset['plan_kept'].mean()):.0f}% of a unit's mass on average."
    moved = f"{int(_moved(dataset).sum()):,} of {dataset.sizes['unit']:,} units move."
    caption = (
        "The transport plan of each group. Units of A from the top, those first whose mass the permutation keeps best; "
        "units of B in the order of their partners: a firm plan is a sharp diagonal."
        if plan
        else "The permutation of each group: how far every unit moves. Dashed: a unit that stays."
    )
    return matching + shown_if_drawn(dataset, "coupling", f"{what}, group by group. {moved}{kept}", caption)


def _moved(dataset: xr.Dataset) -> xr.DataArray:
    return dataset["source"] != dataset["place"]


def _table(dataset: xr.Dataset) -> Html:
    rows = []
    groups = dataset["group"].values
    for name in dict.fromkeys(map(str, groups)):
        one = dataset.isel(unit=np.flatnonzero(groups == name))
        means = [number(float(one[f"similarity_{when}"].mean())) for when in ("before", "after")]
        least = number(float(one["similarity_after"].min())) if one.sizes["unit"] else "n/a"
        rows.append([code(name), f"{one.sizes['unit']:,}", f"{int(_moved(one).sum()):,}", *means, least])
    head = ["group", "units", "moved", "mean before", "mean after", "least after"]
    return table("Cosine between the weights of A's and B's units, by permutation group", head, rows)
