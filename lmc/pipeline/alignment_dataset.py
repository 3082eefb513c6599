"""What an alignment found, as a labelled dataset: where every unit went, how alike the units were before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from lmc import schema
from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment import AlignmentResult
from lmc.datasets import AbstractData
from lmc.pipeline.unit_correlation import unit_correlation
from lmc.symmetry import PermutationGroup, PermutationSpec

_LEAST_MASS = 1e-9
"""Mass of an entry of a plan, as a share of a unit's, below which it is not stored."""


def alignment_dataset(
    result: AlignmentResult,
    a: StateDict,
    b: StateDict,
    attrs: Mapping[str, Any] | None = None,
    *,
    data: AbstractData | None = None,
    module: nn.Module | None = None,
) -> xr.Dataset:
    """Describe an alignment of B to A.

    Parameters
    ----------
    result : AlignmentResult
        Of any method.
    a, b : mapping of str to Tensor
        The networks that it aligned, B as it was.
    attrs : mapping, optional
        Provenance to store.
    data : AbstractData, optional
        Examples to tell on how alike units behave: the first 1,000.
    module : torch.nn.Module, optional
        The network, which that takes; its own weights do not matter.

    Returns
    -------
    xarray.Dataset
        Kind "alignment" of the schema.

    Raises
    ------
    UsageError
        If B's widths are others than A's: what is described is where the units of a permutation went.
    """
    if not result.hard:
        raise UsageError("Between other widths there is no permutation to describe; result.couplings has the plans.")
    spec = result.spec
    groups = spec.groups
    dims = {"step": result.trace, "restart": result.restarts}
    variables: dict[str, Any] = {
        "source": ("unit", _joined([np.asarray(result.permutation[g.name]).ravel() for g in groups], np.int64)),
        "similarity_before": ("unit", similarity(spec, a, b)),
        "similarity_after": ("unit", similarity(spec, a, result.apply(b))),
        "final_objective": ((), float(result.objective)),
        "rounding_loss": ((), float(result.rounding_loss)),
        "trace": ("step", np.asarray(dims["step"], dtype=np.float64)),
        "restart_objective": ("restart", np.asarray(dims["restart"], dtype=np.float64)),
        "seconds": ("phase", np.array(list(result.seconds.values()), dtype=np.float64)),
        **_plans(result),
    }
    seen: dict[str, Any] = {}
    if data is not None and module is not None:
        for when, other in (("before", b), ("after", result.apply(b))):
            values, count = unit_correlation(spec, a, other, data, module)
            variables[f"correlation_{when}"] = ("unit", values)
            seen = {"correlation_data": f"{data.name} {data.split}", "correlation_examples": count}
    coords = {
        "group": ("unit", np.repeat(np.array([g.name for g in groups], dtype=str), [g.units for g in groups])),
        "block": ("unit", _joined([np.repeat(np.arange(g.blocks), g.size) for g in groups], np.int64)),
        "place": ("unit", _joined([np.tile(np.arange(g.size), g.blocks) for g in groups], np.int64)),
        "phase": np.array(list(result.seconds), dtype=str),
    }
    told = {
        "alignment": result.method,
        "objective_name": result.objective_name,
        "message": result.message,
        "converged": result.converged,
        "seed": result.seed,
        "citation": result.citation,
    }
    return schema.annotate(xr.Dataset(variables, coords=coords), "alignment", {**told, **seen, **(attrs or {})})


def similarity(spec: PermutationSpec, a: StateDict, b: StateDict) -> NDArray[np.float64]:
    """Return the cosine between the weights of every unit of A and of the unit of B at its place.

    Parameters
    ----------
    spec : PermutationSpec
        All groups.
    a, b : mapping of str to Tensor
        Two networks.

    Returns
    -------
    array, shape (units of all groups,)
        Over all parameters that a unit lies in; 0 where one of the two has no weights but zeros.
    """
    return _joined([_cosines(group, spec, a, b) for group in spec.groups], np.float64)


def _cosines(group: PermutationGroup, spec: PermutationSpec, a: StateDict, b: StateDict) -> NDArray[np.float64]:
    totals = torch.zeros(3, group.units, dtype=torch.float64)
    for axis in group.axes:
        if axis.param not in spec.buffers:
            one, two = (axis.units(state[axis.param].detach().cpu()).double() for state in (a, b))
            totals += torch.stack([(one * two).sum(1), (one * one).sum(1), (two * two).sum(1)])
    scale = (totals[1] * totals[2]).sqrt()
    return torch.where(scale > 0, totals[0] / scale.clamp(min=1e-300), torch.zeros_like(scale)).numpy()


def _plans(result: AlignmentResult) -> dict[str, Any]:
    """Return the entries of all plans that hold mass: places and units counted through all groups."""
    if not result.couplings:
        return {}
    rows, columns, masses = [], [], []
    kept, partners = (np.full(result.spec.units, np.nan) for _ in range(2))
    offset = 0
    for group in result.spec.groups:
        if group.name in result.couplings:
            plan = result.couplings[group.name].plan
            own = slice(offset, offset + group.units)
            kept[own], partners[own] = _firmness(plan, np.asarray(result.permutation[group.name]))
            block, i, j = np.nonzero(plan > _LEAST_MASS * plan.sum() / group.units)
            rows.append(offset + block * group.size + i)
            columns.append(offset + block * group.size + j)
            masses.append(plan[block, i, j])
        offset += group.units
    return {
        "plan_place": ("entry", _joined(rows, np.int64)),
        "plan_unit": ("entry", _joined(columns, np.int64)),
        "plan_mass": ("entry", _joined(masses, np.float64)),
        "plan_kept": ("unit", kept),
        "plan_partners": ("unit", partners),
    }


def _firmness(plan: NDArray[np.float64], permutation: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """Return for every unit of A how much of its mass the permutation keeps, and over how many units of B it lies."""
    mass = plan.sum(axis=2)
    on = np.take_along_axis(plan, permutation.reshape(mass.shape)[..., None], axis=2)[..., 0]
    empty = mass <= 0
    share = plan / np.where(empty, 1.0, mass)[..., None]
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=2)
    kept = np.where(empty, np.nan, on / np.where(empty, 1.0, mass))
    return kept.ravel(), np.where(empty, np.nan, np.exp(entropy)).ravel()


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([*parts, np.zeros(0, dtype=dtype)]).astype(dtype)
