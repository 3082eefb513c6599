"""A unit's result as a row of a sweep: what is of single examples is left out."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lmc import schema


def as_row(result: xr.Dataset, a: str, b: str) -> xr.Dataset:
    """Return the barrier of one pair as a sweep of that pair.

    Parameters
    ----------
    result : xarray.Dataset
        Kind "barrier"; not modified.
    a, b : str
        Names of the checkpoints.

    Returns
    -------
    xarray.Dataset
        Kind "sweep" with one pair.
    """
    kept = {}
    for name, known in schema.SWEEP.items():
        if name in result.variables:
            variable = result.variables[name]
            kept[name] = variable.set_dims(("pair", *variable.dims)) if known.dims[:1] == ("pair",) else variable
    shape = (1, result.sizes["alignment"])
    attrs = {"long_name": schema.SWEEP["status"].long_name, "units": "1"}
    kept["status"] = xr.Variable(("pair", "alignment"), np.full(shape, "done"), attrs)
    for name, values in (("pair", np.zeros(1, dtype=np.int64)), ("a", np.array([a])), ("b", np.array([b]))):
        known = schema.SWEEP[name]
        kept[name] = xr.Variable("pair", values, {"long_name": known.long_name, "units": known.units})
    coords = [name for name in ("pair", "a", "b", *result.coords) if name in kept]
    told = {name: value for name, value in result.attrs.items() if name not in ("lmc_kind", "lmc_schema_version")}
    return schema.annotate(xr.Dataset(kept).set_coords(coords), "sweep", told)
