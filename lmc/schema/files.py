"""Results as files: whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from lmc._errors import SchemaError
from lmc._files import replacing
from lmc.schema.checks import validate


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
