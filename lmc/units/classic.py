"""Small results as classic netCDF (CDF-5): a tenth of the time of netCDF4, where thousands of files are written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

_FORMAT = "NETCDF3_64BIT_DATA"
_BOOL = "bool"


def write_classic(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a dataset of numbers, truth values and texts; any netCDF reader opens it, xarray as it was.

    Parameters
    ----------
    dataset : xarray.Dataset
        Small: nothing is compressed.
    path : path-like
        A file that is written in place.
    """
    with netCDF4.Dataset(os.fspath(path), "w", format=_FORMAT) as file:
        file.set_fill_off()
        for name, size in dataset.sizes.items():
            file.createDimension(str(name), size)
        filled = [_declare(file, str(name), variable) for name, variable in dataset.variables.items()]
        file.setncatts({str(name): value for name, value in dataset.attrs.items()})
        for stored, values in filled:
            stored[...] = values


def _declare(file: netCDF4.Dataset, name: str, variable: xr.Variable) -> tuple[Any, NDArray[Any]]:
    values, attrs = _stored(variable.values)
    dims = tuple(map(str, variable.dims))
    if values.dtype.kind == "S":
        length = values.shape[-1]
        dims = (*dims, f"string{length}")
        if dims[-1] not in file.dimensions:
            file.createDimension(dims[-1], length)
    stored = file.createVariable(name, values.dtype, dims)
    stored.set_auto_maskandscale(False)
    stored.set_auto_chartostring(False)
    stored.setncatts({**{str(key): value for key, value in variable.attrs.items()}, **attrs})
    return stored, values


def _stored(values: NDArray[Any]) -> tuple[NDArray[Any], dict[str, str]]:
    """Return values as classic netCDF has them, and what tells a reader what they were; xarray knows both words."""
    if values.dtype.kind in "OU":
        coded = np.char.encode(values.astype(str), "utf-8")
        length = max(coded.dtype.itemsize, 1)
        letters = np.frombuffer(coded.astype(f"S{length}").tobytes(), dtype="S1")
        return letters.reshape((*values.shape, length)), {"_Encoding": "utf-8"}
    if values.dtype.kind == "b":
        return values.astype(np.int8), {"dtype": _BOOL}
    return values, {}


def read_classic(path: str | os.PathLike[str]) -> xr.Dataset | None:
    """Return what :func:`write_classic` wrote; None for a netCDF file of another format.

    Raises
    ------
    OSError, RuntimeError, ValueError
        If the file is missing or damaged.
    """
    with Path(path).open("rb") as stream:
        if stream.read(4) != b"CDF\x05":
            return None
    with netCDF4.Dataset(os.fspath(path)) as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        variables = {name: _read(stored) for name, stored in file.variables.items()}
        attrs = {name: file.getncattr(name) for name in file.ncattrs()}
    coords = {name for name, (dims, *_) in variables.items() if dims == (name,)}
    return xr.Dataset(variables, attrs=attrs).set_coords(coords)


def _read(stored: Any) -> tuple[tuple[str, ...], NDArray[Any], Mapping[str, Any]]:
    attrs = {name: stored.getncattr(name) for name in stored.ncattrs()}
    dims, values = stored.dimensions, np.asarray(stored[...])
    if attrs.pop("_Encoding", None) is not None:
        coded = np.ascontiguousarray(values).view(f"S{values.shape[-1]}")[..., 0]
        return dims[:-1], np.char.decode(coded, "utf-8"), attrs
    if values.dtype == np.int8 and attrs.pop("dtype", None) == _BOOL:
        values = values.astype(bool)
    # Classic files are big-endian; numbers come back as the machine has them.
    return dims, values.astype(values.dtype.newbyteorder("="), copy=False), attrs
