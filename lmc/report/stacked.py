"""The report of barriers of several pairs, stacked in one result."""

from __future__ import annotations

import xarray as xr

from lmc.report.html import code, listed, table
from lmc.report.section import (
    Section,
    confidence,
    examples_of,
    heading,
    number,
    shown_if_drawn,
    units,
    with_interval,
)


def stacked_section(dataset: xr.Dataset) -> Section:
    """Return what is said about a result of kind ``barrier`` with a dim ``pair``."""
    names = [str(name) for name in dataset["alignment"].values]
    pairs = [str(pair) for pair in dataset["pair"].values] if "pair" in dataset.coords else range(dataset.sizes["pair"])
    chord = dataset["loss_barrier"].sel(baseline="chord").transpose("pair", "alignment").values
    bounds = dataset["loss_barrier_ci"].sel(baseline="chord").transpose("pair", "alignment", "bound").values
    rows = [
        [str(pair), *(with_interval(chord[i, j], bounds[i, j]) for j in range(len(names)))]
        for i, pair in enumerate(pairs)
    ]
    label = heading("Loss barrier", dataset["loss_barrier"])
    means = [number(mean) for mean in chord.mean(axis=0)]
    unit = units(dataset["loss_barrier"])
    told = [[code(name), f" {mean}{unit}"] for name, mean in zip(names, means, strict=True)]
    spoken = "; ".join(f"{name} {mean}" for name, mean in zip(names, means, strict=True))
    alt = f"Loss along the paths of {len(rows)} pairs, {examples_of(dataset)}. Mean barriers: {spoken}."
    return Section(
        title=f"Barriers of {len(rows)} pairs",
        finding=[[f"Mean loss barrier of {len(rows)} pairs on {examples_of(dataset)}: ", listed(told)]],
        figures=shown_if_drawn(dataset, None, alt, "Loss along the path of each pair."),
        tables=[table(f"{label} of each pair [{confidence(dataset.attrs)} interval]", ["pair", *names], rows)],
        method=[f"Loss on {examples_of(dataset)}, at {dataset.sizes['t']} positions of each path."],
        caveats=["Pairs that share a network are not independent; intervals are about the examples."],
        terms=("path", "barrier", "alignment", "interval"),
    )
