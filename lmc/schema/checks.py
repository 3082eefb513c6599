"""What a result dataset must be to be one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from lmc._errors import SchemaError, did_you_mean
from lmc.schema.adaptive import ADAPTIVE
from lmc.schema.alignment import ALIGNMENT
from lmc.schema.attrs import check_attrs, sanitize_attrs
from lmc.schema.barrier import BARRIER
from lmc.schema.basin import BASIN
from lmc.schema.conjecture import CONJECTURE
from lmc.schema.fusion import FUSION
from lmc.schema.study import STUDY
from lmc.schema.sweep import SWEEP
from lmc.schema.variable import Variable

SCHEMA_VERSION = "1"

KINDS: Mapping[str, Mapping[str, Variable]] = {
    "barrier": BARRIER,
    "adaptive": ADAPTIVE,
    "basin": BASIN,
    "alignment": ALIGNMENT,
    "fusion": FUSION,
    "sweep": SWEEP,
    "conjecture": CONJECTURE,
    "study": STUDY,
}
"""Kind of result (attribute ``lmc_kind``) to its variables."""

STACKED = ("pair", "run")
"""Dims along which whole results may be stacked."""


def annotate(dataset: xr.Dataset, kind: str, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Return the dataset with long names, units, kind, schema version and clean attributes; nothing is modified.

    Raises
    ------
    SchemaError
        If the dataset does not fit the schema.
    """
    variables = KINDS[kind]
    dataset = dataset.copy()
    for name in dataset.variables:
        known = variables.get(str(name))
        if known is not None:
            labels = {"long_name": known.long_name, "units": known.units}
            dataset.variables[name].attrs = {**labels, **dataset.variables[name].attrs}
    dataset.attrs = sanitize_attrs({"lmc_kind": kind, "lmc_schema_version": SCHEMA_VERSION, **attrs})
    validate(dataset)
    return dataset


def validate(dataset: xr.Dataset, kind: str | None = None) -> None:
    """Check a result dataset against the schema.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any dataset; ``lmc_kind`` in its attributes says what it is meant to be.
    kind : str, optional
        What it has to be.

    Raises
    ------
    SchemaError
        If it is no result of this tool, of another kind or version, or lacks a variable, a dimension or an attribute.
    """
    found = dataset.attrs.get("lmc_kind")
    if not isinstance(found, str) or found not in KINDS:
        raise SchemaError(f"Not a result of lmc: attribute lmc_kind is {found!r}, known kinds are {', '.join(KINDS)}.")
    if kind is not None and found != kind:
        raise SchemaError(f"A dataset of kind {kind!r} is needed, this one is of kind {found!r}.")
    version = str(dataset.attrs.get("lmc_schema_version"))
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"Written with schema version {version}; this lmc reads version {SCHEMA_VERSION}. Read it with the lmc "
            "that wrote it (attribute versions), or measure again: the attribute command says how."
        )
    for name, variable in KINDS[found].items():
        if name not in dataset.variables:
            if variable.required:
                hint = did_you_mean(name, map(str, dataset.variables))
                raise SchemaError(f"No variable named {name!r} in this {found} dataset.{hint}")
            continue
        found_one = dataset.variables[name]  # not dataset[name], which costs a thousand times as much
        dims = tuple(map(str, found_one.dims))
        if variable.dims not in (dims, tuple(dim for dim in dims if dim not in STACKED)):
            raise SchemaError(f"Variable {name!r} has dims {dims}, the {found} schema says {variable.dims}.")
        for attr in ("long_name", "units"):
            if attr not in found_one.attrs:
                raise SchemaError(f"Variable {name!r} has no attribute {attr!r}.")
    for owner in (dataset, *dataset.variables.values()):
        check_attrs(owner.attrs)
