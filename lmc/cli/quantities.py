"""The quantities beside the two barriers, as plain values for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

NAMES = (
    "loss_area",
    "loss_curvature",
    "weight_distance",
    "weight_cosine",
    "broken",
    "class_loss_barrier",
    "class_error_barrier",
    "top5_accuracy",
    "disagreement",
    "closeness",
    "sharpness",
    "sharpness_converged",
)


def quantities(one: xr.Dataset) -> dict[str, Any]:
    """Return what a row of a result has of these: a number, a list along t, or numbers by label."""
    return {name: _plain(one[name]) for name in NAMES if name in one}


def _plain(value: xr.DataArray) -> Any:
    if not value.dims:
        return value.item()
    if value.dims == ("t",):
        return value.values.tolist()
    labels = map(str, value[value.dims[0]].values.tolist())
    return dict(zip(labels, value.values.tolist(), strict=True))
