"""Units to one dataset: every pair and alignment has its place, whether its unit is there, failed or missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError
from lmc.sweep.plan import Plan, read_plan
from lmc.sweep.rows import as_row
from lmc.units import WorkFolder

_FRONT = ("pair", "alignment")
_OWN = ("pair", "a", "b", "status", "alignment")


def collect(
    folder: str | os.PathLike[str], *, tell: Callable[[str], object] | None = None, progress: Any = None
) -> xr.Dataset:
    """Join the units of a folder of results along pairs and alignments.

    Parameters
    ----------
    folder : path-like
        What ``lmc sweep`` wrote, complete or not, while it is written or after.
    tell : callable, optional
        Takes one sentence for the user, such as that a file is damaged.
    progress : callable, optional
        Such as ``tqdm.tqdm``.

    Returns
    -------
    xarray.Dataset
        Kind "sweep"; coordinates of checkpoints are ``NAME_a`` and ``NAME_b`` along ``pair``, and ``NAME`` itself where
        both ends agree in every pair.

    Raises
    ------
    SchemaError
        If the folder has no plan, or one of another version.
    UsageError
        If no unit is done yet.
    """
    plan = read_plan(folder)
    units = WorkFolder(folder, tell, light=not plan.context.measure.keep_examples)
    table = _Table(plan)
    bar = None if progress is None else progress(total=plan.size, desc="collect")
    for pair, align, unit in plan.units():
        row = units.read(unit)
        column = plan.alignments.index(align)
        if row is None:
            table.status[pair, column] = "failed" if units.failure(unit) else "missing"
        else:
            table.put(pair, column, row if row.attrs.get("lmc_kind") == "sweep" else as_row(row, "", ""))
        if bar is not None:
            bar.update(1)
    if bar is not None:
        bar.close()
    return table.dataset()


@dataclass
class _Table:
    """The arrays of a sweep, of their full size as soon as the first unit tells what there is."""

    plan: Plan
    arrays: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = field(default_factory=dict)
    labels: dict[str, xr.Variable] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shape = len(self.plan.pairs), len(self.plan.alignments)
        self.status = np.full(self.shape, "missing", dtype="<U7")

    def put(self, pair: int, column: int, row: xr.Dataset) -> None:
        """Take in one unit."""
        self.status[pair, column] = "done"
        for name, variable in row.variables.items():
            name = str(name)
            if name in _OWN:
                continue
            if variable.dims[:2] == _FRONT:
                self._array(name, variable)[pair, column] = variable.values[0, 0]
            elif variable.dims[:1] != ("pair",):
                self.labels.setdefault(name, variable)
        told = {key: value for key, value in row.attrs.items() if not key.startswith(("lmc_", "a_", "b_"))}
        if not self.attrs:
            self.attrs = told
        self.attrs = {key: value for key, value in self.attrs.items() if str(told.get(key)) == str(value)}

    def _array(self, name: str, variable: xr.Variable) -> NDArray[Any]:
        if name not in self.arrays:
            shape = (*self.shape, *variable.shape[2:])
            kind = variable.dtype.kind
            blank = np.full(shape, "", dtype=object) if kind in "OUS" else np.full(shape, np.nan)
            self.arrays[name] = tuple(map(str, variable.dims)), blank, dict(variable.attrs)
        return self.arrays[name][1]

    def dataset(self) -> xr.Dataset:
        """Return what was taken in as a result."""
        if not self.arrays:
            raise UsageError(f"Nothing to collect: none of {self.plan.size:,} units is done yet.")
        plan = self.plan
        first, second = plan.pairs[:, 0], plan.pairs[:, 1]
        names = np.array([member.name for member in plan.members])
        variables = {
            name: (dims, values.astype(str) if values.dtype == object else values, attrs)
            for name, (dims, values, attrs) in self.arrays.items()
        }
        coords = {
            "pair": np.arange(len(plan.pairs)),
            "a": ("pair", names[first]),
            "b": ("pair", names[second]),
            "alignment": list(plan.alignments),
            **self.labels,
            **self._coordinates(first, second),
        }
        found = xr.Dataset({**variables, "status": (_FRONT, self.status)}, coords=coords)
        counts = {f"units_{name}": int((self.status == name).sum()) for name in ("done", "failed", "missing")}
        files = {one.name: {"source": one.path, "sha256": one.digest} for one in plan.members}
        told = {"sweep": asdict(plan.context.measure), "checkpoints": files, **counts}
        return schema.annotate(found, "sweep", {**self.attrs, **told})

    def _coordinates(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, Any]:
        members = self.plan.members
        found: dict[str, Any] = {}
        for key in dict.fromkeys(key for member in members for key in member.coordinates):
            values = _column([member.coordinates.get(key) for member in members])
            found |= {f"{key}_a": ("pair", values[first]), f"{key}_b": ("pair", values[second])}
            if np.array_equal(values[first], values[second]):
                found[key] = ("pair", values[first])
        taken = set(schema.SWEEP) | {str(dim) for dim in ("pair", "alignment", "t")}
        return {name: value for name, value in found.items() if name not in taken}


def _column(values: list[Any]) -> NDArray[Any]:
    """Return values as numbers where all are, NaN where one is lacking; else as texts."""
    if all(isinstance(value, int) for value in values):
        return np.array(values, dtype=np.int64)
    if all(value is None or isinstance(value, (int, float)) for value in values):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array(["" if value is None else str(value) for value in values])
