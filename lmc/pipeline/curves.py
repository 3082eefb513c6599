"""A curve measured beside the straight line between its ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from lmc import schema
from lmc._errors import UsageError
from lmc.barriers import measure_barrier
from lmc.interpolation import AbstractCurve, LinearPath, batchnorm_layers


def measure_curve(
    module: nn.Module,
    path: AbstractCurve,
    data: Any,
    *,
    training: Any = None,
    attrs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Measure a curve and the straight line between its ends, side by side.

    Parameters
    ----------
    module : torch.nn.Module
        The network; copied, never changed.
    path : AbstractCurve
        The curve.
    data : AbstractData, or whatever as_data takes
        Examples to measure on.
    training : as data, optional
        Training data on which statistics of BatchNorm are reset at every position of both paths; needed where the
        network has BatchNorm, since the bends of a curve have no statistics of their own.
    attrs : mapping, optional
        Provenance to store.
    **settings
        As in :func:`lmc.measure_barrier`.

    Returns
    -------
    xarray.Dataset
        Kind "barrier" of the schema, whose rows are the paths ``straight`` and ``curve``.

    Raises
    ------
    UsageError
        If the network has BatchNorm and there are no training data.
    """
    normalised = bool(batchnorm_layers(module))
    if normalised and training is None:
        raise UsageError(
            "The network has BatchNorm, and along a curve its statistics have to be measured: pass training data."
        )
    paths = {"straight": LinearPath(*path.ends), "curve": path}
    recalibrate = training if normalised else None
    dataset = measure_barrier(module, paths, data, recalibrate=recalibrate, attrs=attrs, **settings)
    variable = schema.BARRIER["alignment_message"]
    labels = {"long_name": "which path this is", "units": variable.units}
    messages = np.array(["the line between the ends", path.description.partition(":")[0]], dtype=str)
    dataset = dataset.assign(alignment_message=("alignment", messages, labels))
    dataset["alignment"].attrs["long_name"] = "path"
    return dataset
