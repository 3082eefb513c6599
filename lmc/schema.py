"""Names, dims, units and attributes of every result dataset. Plain xarray in and out; docs/schema.md is the prose."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lmc._errors import SchemaError, did_you_mean
from lmc._files import replacing

SCHEMA_VERSION = "1"

BASELINES = ("chord", "mean")
"""``chord``: subtract (1-t)L(0)+tL(1) (Entezari); ``mean``: subtract the mean endpoint (Frankle, Git Re-Basin)."""

BOUNDS = ("lower", "upper")

ENDS = ("A", "B")

COMPARISONS = ("A and B", "A and midpoint", "midpoint and B")


@dataclass(frozen=True)
class Variable:
    """What one variable or coordinate of a result must be."""

    dims: tuple[str, ...]
    long_name: str
    units: str
    required: bool = True


_PATH = ("alignment", "t")
_SCALAR = ("alignment", "baseline")
_UNITS = ("alignment", "layer", "stage")

BARRIER: Mapping[str, Variable] = {
    "alignment": Variable(("alignment",), "alignment of B to A", "1"),
    "t": Variable(("t",), "position along the path (0 is A, 1 is B)", "1"),
    "example": Variable(("example",), "index of the example in the dataset", "1"),
    "baseline": Variable(("baseline",), "what the barrier is measured against", "1"),
    "bound": Variable(("bound",), "end of the confidence interval", "1"),
    "split": Variable((), "split of the dataset", "1"),
    "layer": Variable(("layer",), "layer whose units were repaired", "1", required=False),
    "stage": Variable(("stage",), "before or after the repair", "1", required=False),
    "end": Variable(("end",), "end of the path", "1", required=False),
    "class": Variable(("class",), "class", "1", required=False),
    "comparison": Variable(("comparison",), "points of the path that are compared", "1", required=False),
    "module": Variable(("module",), "module of the network", "1", required=False),
    "loss": Variable(_PATH, "loss", "nats"),
    "accuracy": Variable(_PATH, "accuracy", "1", required=False),
    "loss_ci": Variable((*_PATH, "bound"), "95% interval of the loss", "nats"),
    "accuracy_ci": Variable((*_PATH, "bound"), "95% interval of the accuracy", "1", required=False),
    "loss_barrier": Variable(_SCALAR, "loss barrier", "nats"),
    "error_barrier": Variable(_SCALAR, "error barrier", "1", required=False),
    "loss_barrier_ci": Variable((*_SCALAR, "bound"), "95% interval of the loss barrier", "nats"),
    "error_barrier_ci": Variable((*_SCALAR, "bound"), "95% interval of the error barrier", "1", required=False),
    "loss_area": Variable(("alignment",), "area between the loss curve and its chord", "nats", required=False),
    "loss_curvature": Variable(("alignment", "end"), "second derivative of the loss along the path", "nats", False),
    "weight_distance": Variable(("alignment",), "distance between the parameters of A and B", "1", required=False),
    "weight_cosine": Variable(("alignment",), "cosine between the matrices of A and B", "1", required=False),
    "broken": Variable(("alignment",), "examples right at both ends and wrong at the midpoint", "1", required=False),
    "class_loss_barrier": Variable(("alignment", "class"), "loss barrier of each class", "nats", required=False),
    "class_error_barrier": Variable(("alignment", "class"), "error barrier of each class", "1", required=False),
    "example_barrier": Variable(("alignment", "example"), "loss barrier of each example", "nats", required=False),
    "example_target": Variable(("example",), "class of each example", "1", required=False),
    "dtype_loss_difference": Variable(("alignment", "end"), "loss in this dtype minus float32", "nats", required=False),
    "dtype_accuracy_difference": Variable(
        ("alignment", "end"), "accuracy in this dtype minus float32", "1", required=False
    ),
    "top5_accuracy": Variable(_PATH, "top-5 accuracy", "1", required=False),
    "disagreement": Variable(("alignment", "comparison"), "examples predicted differently", "1", required=False),
    "closeness": Variable(("alignment", "module"), "distance of midpoint and mean activations", "1", required=False),
    "sharpness": Variable(("alignment", "end"), "largest eigenvalue of the Hessian", "nats", required=False),
    "sharpness_converged": Variable(("alignment", "end"), "sharpness converged", "1", required=False),
    "example_loss": Variable((*_PATH, "example"), "loss of each example", "nats"),
    "example_correct": Variable((*_PATH, "example"), "example classified correctly", "1", required=False),
    "alignment_message": Variable(("alignment",), "how the alignment ended", "1", required=False),
    "objective": Variable(("alignment",), "objective of the alignment", "1", required=False),
    "unrepaired_loss": Variable(("alignment",), "loss at the midpoint without the repair", "nats", required=False),
    "unrepaired_accuracy": Variable(("alignment",), "accuracy at the midpoint without the repair", "1", required=False),
    "unit_std": Variable(_UNITS, "midpoint: standard deviation of units over that of the ends", "1", required=False),
    "unit_mean": Variable(_UNITS, "midpoint: distance of units' means from the ends', in std", "1", required=False),
    "repair_treatment": Variable(("layer",), "what the repair did to the layer", "1", required=False),
    "seconds_align": Variable(("alignment",), "time spent aligning", "s", required=False),
    "seconds_evaluate": Variable(("alignment",), "time spent evaluating", "s", required=False),
}

_PLANE = ("u", "v")
_PAIR = ("mode", "other")

BASIN: Mapping[str, Variable] = {
    "u": Variable(("u",), "distance from A along u", "1"),
    "v": Variable(("v",), "distance from A along v", "1"),
    "mode": Variable(("mode",), "mode", "1"),
    "other": Variable(("other",), "the other mode of a pair", "1"),
    "level": Variable(("level",), "level of the loss", "nats"),
    "bound": Variable(("bound",), "end of the confidence interval", "1"),
    "split": Variable((), "split of the dataset", "1"),
    "example": Variable(("example",), "index of the example in the dataset", "1", required=False),
    "loss": Variable(_PLANE, "loss", "nats"),
    "accuracy": Variable(_PLANE, "accuracy", "1", required=False),
    "loss_ci": Variable((*_PLANE, "bound"), "95% interval of the loss", "nats"),
    "accuracy_ci": Variable((*_PLANE, "bound"), "95% interval of the accuracy", "1", required=False),
    "mode_u": Variable(("mode",), "u of the mode", "1"),
    "mode_v": Variable(("mode",), "v of the mode", "1"),
    "mode_loss": Variable(("mode",), "loss of the mode", "nats"),
    "mode_accuracy": Variable(("mode",), "accuracy of the mode", "1", required=False),
    "mode_copy_of": Variable(("mode",), "the mode that this one is an aligned copy of", "1"),
    "saddle_loss": Variable(_PAIR, "saddle height of the loss between two modes", "nats"),
    "saddle_error": Variable(_PAIR, "saddle height of the error between two modes", "1", required=False),
    "saddle_loss_ci": Variable((*_PAIR, "bound"), "95% interval of the saddle height of the loss", "nats"),
    "saddle_error_ci": Variable(
        (*_PAIR, "bound"), "95% interval of the saddle height of the error", "1", required=False
    ),
    "escape_loss": Variable(("mode",), "loss at which the basin of the mode reaches the border of the grid", "nats"),
    "component": Variable(("level", *_PLANE), "connected component of loss <= level (0: above the level)", "1"),
    "mode_component": Variable(("level", "mode"), "component that holds the mode (0: it is above the level)", "1"),
    "component_area": Variable(("level", "mode"), "area of the component that holds the mode", "1"),
    "component_open": Variable(("level", "mode"), "the component that holds the mode reaches the border", "1"),
    "example_loss": Variable((*_PLANE, "example"), "loss of each example", "nats", required=False),
    "example_correct": Variable((*_PLANE, "example"), "example classified correctly", "1", required=False),
    "seconds_evaluate": Variable((), "time spent evaluating", "s", required=False),
}

ADAPTIVE: Mapping[str, Variable] = {
    **{name: BARRIER[name] for name in ("alignment", "t", "example", "bound", "split", "alignment_message")},
    **{name: BARRIER[name] for name in ("objective", "seconds_align", "seconds_evaluate", "accuracy", "loss")},
    "verdict": Variable(("alignment",), "barrier against the tolerance", "1"),
    "barrier": Variable(("alignment",), "greatest rise at the positions evaluated", "nats"),
    "barrier_ci": Variable(("alignment", "bound"), "95% interval of the barrier on the whole grid", "nats"),
    "rise": Variable(_PATH, "rise above the baseline", "nats"),
    "rise_ci": Variable((*_PATH, "bound"), "95% interval of the rise, at all looks", "nats"),
    "examples": Variable(_PATH, "examples evaluated", "1"),
    "evaluations": Variable(("alignment",), "evaluations of an example at a position", "1"),
    "evaluations_full": Variable((), "evaluations of all examples at all positions", "1"),
    "evaluation_loss": Variable(("evaluation",), "loss of each evaluation", "nats"),
    "evaluation_correct": Variable(("evaluation",), "evaluation classified correctly", "1", required=False),
}

ALIGNMENT: Mapping[str, Variable] = {
    "group": Variable(("unit",), "permutation group of the unit", "1"),
    "block": Variable(("unit",), "block of the group: the head, say, that the unit lies in", "1"),
    "place": Variable(("unit",), "place of the unit in its block", "1"),
    "source": Variable(("unit",), "unit of B that is put there", "1"),
    "similarity_before": Variable(("unit",), "cosine of A's and B's unit, B as it was", "1"),
    "similarity_after": Variable(("unit",), "cosine of A's and B's unit, B aligned", "1"),
    "final_objective": Variable((), "objective of the alignment", "1"),
    "rounding_loss": Variable((), "objective lost by rounding the plan to a permutation", "1"),
    "trace": Variable(("step",), "objective after each step", "1"),
    "restart_objective": Variable(("restart",), "objective of each restart", "1"),
    "phase": Variable(("phase",), "part of the work", "1"),
    "seconds": Variable(("phase",), "time spent", "s"),
    "plan_place": Variable(("entry",), "index of the unit of A, through all groups", "1", required=False),
    "plan_unit": Variable(("entry",), "index of the unit of B, through all groups", "1", required=False),
    "plan_mass": Variable(("entry",), "mass of the plan between the two", "1", required=False),
}

KINDS: Mapping[str, Mapping[str, Variable]] = {
    "barrier": BARRIER,
    "adaptive": ADAPTIVE,
    "basin": BASIN,
    "alignment": ALIGNMENT,
}
"""Kind of result (attribute ``lmc_kind``) to its variables."""


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
            dataset[name].attrs = {"long_name": known.long_name, "units": known.units, **dataset[name].attrs}
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
        raise SchemaError(f"Written with schema version {version}; this lmc reads version {SCHEMA_VERSION}.")
    for name, variable in KINDS[found].items():
        if name not in dataset.variables:
            if variable.required:
                hint = did_you_mean(name, map(str, dataset.variables))
                raise SchemaError(f"No variable named {name!r} in this {found} dataset.{hint}")
            continue
        dims = tuple(str(dim) for dim in dataset[name].dims if dim != "pair")
        if dims != variable.dims:
            raise SchemaError(f"Variable {name!r} has dims {dims}, the {found} schema says {variable.dims}.")
        for attr in ("long_name", "units"):
            if attr not in dataset[name].attrs:
                raise SchemaError(f"Variable {name!r} has no attribute {attr!r}.")
    for owner in (dataset, *dataset.variables.values()):
        check_attrs(owner.attrs)


def check_attrs(attrs: Mapping[Any, Any]) -> None:
    """Raise SchemaError for an attribute that netCDF cannot store."""
    for name, value in attrs.items():
        if not _storable(value):
            raise SchemaError(f"Attribute {name!r} is {value!r} ({type(value).__name__}), which netCDF cannot store.")


def sanitize_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Turn attributes into what netCDF stores: strings and numbers stay, everything else becomes JSON text.

    Parameters
    ----------
    attrs : mapping
        Any values; None, bool, dict and sequences become JSON, paths become strings.

    Returns
    -------
    dict
        The same names, values that netCDF can hold.
    """
    return {str(name): _clean(value) for name, value in attrs.items()}


_STORED = frozenset({"i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"})


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return value == _utf8(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number, np.ndarray)):
        return False
    array = np.asarray(value)
    return array.ndim <= 1 and array.dtype.str[1:] in _STORED


def _clean(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return _utf8(value)
    return value if _storable(value) else json.dumps(_plain(value), default=str)


def _utf8(text: str) -> str:
    # File names that are no UTF-8 reach Python as lone surrogates, which no file format takes.
    return text.encode(errors="backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def write(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a result as compressed netCDF4, to a temporary name first, so that a reader never sees half a file.

    Parameters
    ----------
    dataset : xarray.Dataset
        A valid result.
    path : path-like
        Where it goes; an existing file is replaced only when the new one is complete.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SchemaError
        If the dataset is not valid.
    """
    validate(dataset)
    path = Path(path)
    numeric = [name for name, variable in dataset.variables.items() if variable.dtype.kind in "fiub" and variable.ndim]
    encoding = {name: {"zlib": True, "complevel": 4, "shuffle": True} for name in numeric}
    with replacing(path) as partial:
        dataset.to_netcdf(partial, engine="netcdf4", format="NETCDF4", encoding=encoding)
    return path


def read(path: str | os.PathLike[str], kind: str | None = None) -> xr.Dataset:
    """Open a result and check it.

    Raises
    ------
    SchemaError
        If the file is not netCDF, is damaged, or is not a result of this tool; the message names the file.
    """
    try:
        dataset = xr.load_dataset(path, engine="netcdf4")
    except FileNotFoundError as error:
        raise SchemaError(f"No such file: {path}") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: damage behind an intact header
        raise SchemaError(f"{path} cannot be read as netCDF4: {error}") from error
    try:
        validate(dataset, kind)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
    return dataset
