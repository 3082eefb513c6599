"""The units of an alignment result, group by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.plotting.results import check_dataset


def check_alignment(dataset: xr.Dataset, function: str) -> None:
    """Refuse what is no alignment result, and one without units."""
    check_dataset(dataset, function)
    schema.validate(dataset, kind="alignment")
    if not dataset.sizes["unit"]:
        raise UsageError("The network has no permutation groups: there is nothing to draw.")


def units_of(dataset: xr.Dataset, groups: Sequence[str] | None = None) -> dict[str, NDArray[np.int64]]:
    """Return where the units of each group lie along ``unit``, in the order of the file.

    Raises
    ------
    UsageError
        For a group that the dataset does not have.
    """
    labels = dataset["group"].values.astype(str)
    found = {str(name): np.flatnonzero(labels == name) for name in dict.fromkeys(labels.tolist())}
    for name in groups or ():
        if name not in found:
            raise unknown("group", name, found)
    return found if groups is None else {name: found[name] for name in groups}


def within(dataset: xr.Dataset, units: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return place and source of a group's units, counted through its blocks."""
    one = dataset.isel(unit=units)
    block, place, source = (one[name].values.astype(np.int64) for name in ("block", "place", "source"))
    start = block * (int(place.max()) + 1)
    return start + place, start + source
