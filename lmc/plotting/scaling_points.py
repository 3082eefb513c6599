"""Barriers of a sweep or a study as points: which size, which alignment, how high, how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.results import BASELINES, check_dataset, with_units

_MOST_PANELS = 6
_NO_SIZE = ("pair", "seed", "claim", "bound", "alignment")
_WORDS: Mapping[str, str] = {"lr": "learning rate", "models": "number of models"}


@dataclass(frozen=True)
class Points:
    """Barriers, one an entry: shapes (n,), bounds (n, 2) or None; ``panel`` is "" where there is one panel."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    bounds: NDArray[np.float64] | None
    alignment: tuple[str, ...]
    panel: tuple[str, ...]
    x_label: str
    y_label: str
    by: str
    words: str

    def of(self, panel: str, alignment: str) -> Points:
        """Return the points of one line."""
        here = np.array([(p, a) == (panel, alignment) for p, a in zip(self.panel, self.alignment, strict=True)])
        bounds = None if self.bounds is None else self.bounds[here]
        count = int(here.sum())
        names = (alignment,) * count, (panel,) * count
        return Points(self.x[here], self.y[here], bounds, *names, self.x_label, self.y_label, self.by, self.words)


def points_of(
    dataset: xr.Dataset, x: str | None, by: str | None, metric: str, variable: str | None, baseline: str
) -> Points:
    """Return the barriers of a sweep or a study as points; what was not measured is left out."""
    check_dataset(dataset, "plot_scaling")
    schema.validate(dataset)
    if metric not in ("loss", "error"):
        raise unknown("metric", metric, ("loss", "error"))
    if dataset.attrs["lmc_kind"] == "study":
        values, bounds, label = _of_study(dataset, metric, variable)
    else:
        schema.validate(dataset, kind="sweep")
        values, bounds, label = _of_sweep(dataset, metric, baseline)
    sizes = varying(values)
    x = _chosen("x", x, sizes, sizes)
    others = [name for name in sizes if name != x and len(np.unique(values[name])) <= _MOST_PANELS]
    by = _chosen("by", by, sizes, others) if by is not None or others else None
    return _flat(values, bounds, x, by, label)


def varying(values: xr.Dataset | xr.DataArray) -> list[str]:
    """Return the coordinates of pairs that are numbers and differ, those with most values first; no seeds."""
    found = {}
    for name, coordinate in values.coords.items():
        if name in _NO_SIZE or str(name).endswith(("_a", "_b")) or coordinate.ndim != 1:
            continue
        if coordinate.dtype.kind not in "iuf" or coordinate.dims[0] not in ("pair", name) or name in schema.BARRIER:
            continue
        if (count := len(np.unique(coordinate.values[np.isfinite(coordinate.values)]))) > 1:
            found[str(name)] = count
    return sorted(found, key=lambda name: -found[name])


def _chosen(what: str, name: str | None, known: Sequence[str], default: Sequence[str]) -> str:
    if name is not None and name not in known:
        raise unknown(what, name, known)
    if name is None and not default:
        raise UsageError(
            "No coordinate of the pairs varies (width, depth, epoch, ...): there is nothing to draw against."
        )
    return name or default[0]


def _of_sweep(dataset: xr.Dataset, metric: str, baseline: str) -> tuple[xr.DataArray, xr.DataArray | None, str]:
    name = f"{metric}_barrier"
    if name not in dataset:
        raise UsageError(f"Metric {metric!r} needs the variable {name!r}, which is not in the dataset.")
    if baseline not in dataset["baseline"].values:
        raise unknown("baseline", baseline, dataset["baseline"].values)
    chosen = dataset.sel(baseline=baseline)
    words = f"{chosen[name].attrs['long_name']} above the {BASELINES.get(baseline, baseline)}"
    return chosen[name], chosen.get(f"{name}_ci"), with_units(words, chosen[name])


def _of_study(dataset: xr.Dataset, metric: str, variable: str | None) -> tuple[xr.DataArray, xr.DataArray | None, str]:
    known = {str(name): _rows_and_pairs(one) for name, one in dataset.data_vars.items()}
    names = [name for name, one in known.items() if {"pair", "alignment"} <= set(one.dims) and varying(one)]
    if variable is None:
        variable = next((name for name in names if name.endswith(f"{metric}_barrier")), None)
    if not names:
        raise UsageError(
            "No variable of this study has dims pair, alignment and one that varies (width, depth, epoch)."
        )
    if variable not in names:
        raise unknown("variable", str(variable or metric), names)
    values = known[str(variable)]
    words = with_units(values.attrs["long_name"], values)
    for extra in sorted(set(map(str, values.dims)) - {"pair", "alignment", *varying(values)}):
        words += f", {extra.replace('_', ' ')} {values[extra].values[0]}" if extra in values.coords else ""
        values = values.isel({extra: 0})  # the first is what the study is about; sel chooses another
    return values, dataset.get(f"{variable}_ci"), words


def _rows_and_pairs(values: xr.DataArray) -> xr.DataArray:
    """Name what a study has lines for, and what it repeats, as a sweep does."""
    named = [dim for dim in values.dims if dim in values.coords and values[dim].dtype.kind in "UO"]
    texts = [dim for dim in named if dim not in ("pair", "alignment")]
    if texts and values.sizes.get("alignment") == 1:
        values = values.isel(alignment=0, drop=True)
    if "alignment" not in values.dims and texts:
        values = values.rename({texts[0]: "alignment"})
    return values.rename(seed="pair") if "pair" not in values.dims and "seed" in values.dims else values


def _flat(values: xr.DataArray, bounds: xr.DataArray | None, x: str, by: str | None, label: str) -> Points:
    names = [x, "alignment", *([by] if by else [])]
    columns = {name: values[name].broadcast_like(values).values.ravel() for name in names}
    y = values.values.ravel().astype(np.float64)
    ends = None if bounds is None else bounds.transpose(*values.dims, "bound").values.reshape(-1, 2)
    known = np.isfinite(y) & np.isfinite(columns[x].astype(np.float64))
    panels = tuple(f"{value:g}" for value in columns[by][known]) if by else ("",) * int(known.sum())
    order = np.argsort(columns[by][known], kind="stable") if by else np.arange(int(known.sum()))
    alignment = columns["alignment"][known]
    one = len(np.unique(np.stack([columns[x][known].astype(str), alignment.astype(str), panels]), axis=1).T)
    several = one < int(known.sum())
    confidence = "" if bounds is None else "bars: " + str(bounds.attrs["long_name"]).partition(" of ")[0]
    words = "; ".join(filter(None, ["lines: means; points: pairs" if several else "", confidence]))
    return Points(
        columns[x][known].astype(np.float64)[order],
        y[known][order],
        None if ends is None else ends[known][order],
        tuple(str(alignment[i]) for i in order),
        tuple(panels[i] for i in order),
        _WORDS.get(x, _long_name(values, x)),
        label,
        _WORDS.get(by, by) if by else "",
        words,
    )


def _long_name(values: xr.DataArray, name: str) -> str:
    attrs = values[name].attrs
    words = str(attrs.get("long_name", name))
    return words if attrs.get("units", "1") == "1" else f"{words} ({attrs['units']})"
