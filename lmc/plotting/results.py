"""What figures ask of a result: that it is one, of one pair of models, and what its variables are called."""

from __future__ import annotations

import os
from collections.abc import Mapping

import xarray as xr

from lmc._errors import UsageError

BASELINES: Mapping[str, str] = {"chord": "chord", "mean": "mean end"}
"""What barriers are measured against, in words."""


def check_dataset(dataset: object, function: str) -> None:
    """Refuse what is no dataset: a path, with the call that draws it, or a part of a dataset."""
    if isinstance(dataset, (str, os.PathLike)):
        path = str(dataset)
        raise UsageError(f"{path!r} is a path: lmc.{function}(xarray.open_dataset({path!r})) draws it.")
    if not isinstance(dataset, xr.Dataset):
        raise UsageError(f"A whole Dataset is drawn, not a {type(dataset).__name__}.")


def single_pair(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset without the dim ``pair``, where it holds one pair or no such dim; else refuse it."""
    if "pair" not in dataset.dims:
        return dataset
    if dataset.sizes["pair"] != 1:
        pairs = dataset.sizes["pair"]
        raise UsageError(f"The dataset holds {pairs} pairs of models: choose one, as in dataset.isel(pair=0).")
    return dataset.squeeze("pair")


def with_units(words: str, variable: xr.DataArray) -> str:
    """Return words with the units of a variable behind them; a ratio has none."""
    units = variable.attrs["units"]
    return words if units == "1" else f"{words} ({units})"


def label_of(variable: xr.DataArray) -> str:
    """Return the long name of a variable with its units."""
    return with_units(variable.attrs["long_name"], variable)
