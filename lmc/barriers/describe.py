"""What every measurement checks before it starts and says about itself in its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr
from torch import nn

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.datasets import AbstractData
from lmc.evaluation import Normalizations
from lmc.interpolation import AbstractPath, batchnorm_layers

NATS = ("cross_entropy", "token_cross_entropy")
"""Losses that are in nats; others have units of their own."""


def check_options(
    named: Mapping[str, AbstractPath],
    confidence: float,
    resamples: int,
    objectives: Mapping[str, float] | None,
    seconds_align: Mapping[str, float] | None,
) -> None:
    """Raise UsageError for paths, intervals or named values that make no sense, before any long work."""
    if not named:
        raise UsageError("A barrier needs at least one path.")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1 (0.95, say), got {confidence}.")
    if resamples < 1:
        raise UsageError(f"resamples must be at least 1, got {resamples}.")
    for name in {**(objectives or {}), **(seconds_align or {})}:
        if name not in named:
            raise unknown("path", name, named)


def describe_batchnorm(module: nn.Module, recalibrate: AbstractData | None) -> str:
    """Say what became of BatchNorm statistics along the paths."""
    if not batchnorm_layers(module):
        return "none in the network" + (", nothing was reset" if recalibrate is not None else "")
    if recalibrate is None:
        return "statistics interpolated"
    return f"statistics reset on {recalibrate.name} {recalibrate.split}, ends too"


def describe_bootstrap(confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    """Say how intervals were made, as attributes."""
    return {
        "confidence": confidence,
        "bootstrap": "over examples, the same at every position: percentiles of means; the upward bias of a barrier, "
        "which is a maximum, is bounded by intersection bounds",
        "bootstrap_resamples": resamples,
        "bootstrap_seed": seed,
    }


def describe_data(data: AbstractData, pair: Normalizations) -> dict[str, Any]:
    """Say what was measured on, as attributes."""
    a, b = (normalization or "none" for normalization in pair)
    return {
        "data": data.reference,
        "data_name": data.name,
        "task": data.task,
        "normalization": str(a) if a == b else f"A {a}; B {b}; scale and shift interpolated",
    }


def one_or_all(described: Mapping[str, str]) -> str:
    """Return the one description that all paths share, or all of them as JSON."""
    return next(iter(described.values())) if len(set(described.values())) == 1 else json.dumps(dict(described))


def set_labels(
    dataset: xr.Dataset, confidence: float, loss: str, variables: Mapping[str, schema.Variable] = schema.BARRIER
) -> None:
    """Set what the schema's own labels cannot know: the loss's unit and the confidence."""
    if loss not in NATS:
        for name in dataset.variables:
            if variables[str(name)].units == "nats":
                dataset[name].attrs["units"] = "1"
    if confidence != 0.95:
        for name in dataset.variables:
            if str(name).endswith("_ci"):
                label = variables[str(name)].long_name
                dataset[name].attrs["long_name"] = label.replace("95%", f"{100 * confidence:g}%")
