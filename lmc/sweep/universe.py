"""Every checkpoint in one common order, found once for each: n alignments serve all n(n-1)/2 pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lmc._errors import UsageError
from lmc._methods import ALIGNMENTS, load_method
from lmc._types import Permutation, StateDict
from lmc.alignment import align, align_many
from lmc.pipeline import Proof
from lmc.sweep.members import Member
from lmc.units import Unit, WorkFolder

FOLDER = "universe"
METHODS = ("pivot", "merge-many", "cycle-consistent")


def describe_universe(members: Sequence[Member], networks: Mapping[str, str], method: str, base: str) -> dict[str, Any]:
    """Return what determines the common order of each network's checkpoints.

    Parameters
    ----------
    members : sequence of Member
        The checkpoints of the sweep.
    networks : mapping
        Layout to network.
    method, base : str
        As in ``[universe]``.

    Returns
    -------
    dict
        ``method``, ``base``, and for each network its ``orders``: the digest of the pivot, whose order is the common
        one, or of all checkpoints together, and its ``pivots``, the name of the one that the others are brought to.
    """
    if method not in METHODS:
        raise UsageError(f"[universe] method = {method!r}: one of {', '.join(METHODS)}.")
    load_method(base, ALIGNMENTS, "alignment", seed=0)
    grouped: dict[str, list[Member]] = {}
    for member in members:
        if not member.error and member.layout in networks:
            grouped.setdefault(networks[member.layout], []).append(member)
    joined = {key: " ".join(one.digest for one in group) for key, group in grouped.items()}
    orders = {
        key: group[0].digest if method == "pivot" else hashlib.sha256(joined[key].encode()).hexdigest()
        for key, group in grouped.items()
    }
    return {"method": method, "base": base, "orders": orders, "pivots": {k: g[0].name for k, g in grouped.items()}}


def to_pivot(
    folder: WorkFolder,
    about: Mapping[str, Any],
    pivot: Callable[[], StateDict],
    state: StateDict,
    proof: Proof,
    settings: Mapping[str, Any],
) -> Permutation:
    """Return the permutation that brings one checkpoint into the pivot's order, found by whoever needs it first.

    Parameters
    ----------
    folder : WorkFolder
        Of results.
    about : mapping
        What determines it.
    pivot : callable
        Loads the pivot's state dict.
    state : state dict
        The checkpoint's.
    proof : Proof
        Symmetries of the network.
    settings : mapping
        ``method``, ``data`` and ``module`` of :func:`lmc.align`.
    """

    def compute() -> xr.Dataset:
        return _stored([align(pivot(), state, proof.spec, **settings).permutation])

    (stored,) = WorkFolder(folder.path / FOLDER, light=True).run([(Unit("order", about), compute)])
    return _permutations(stored)[0]


def all_orders(
    folder: WorkFolder,
    about: Mapping[str, Any],
    states: Callable[[], Sequence[StateDict]],
    proof: Proof,
    settings: Mapping[str, Any],
) -> list[Permutation]:
    """Return the permutations of all checkpoints of a network into a common order, found together in one unit."""

    def compute() -> xr.Dataset:
        return _stored(align_many(states(), proof.spec, **settings).permutations)

    (stored,) = WorkFolder(folder.path / FOLDER, light=True).run([(Unit("orders", about), compute)])
    return _permutations(stored)


def _stored(permutations: Sequence[Permutation]) -> xr.Dataset:
    """Store permutations of one spec: a variable for each group, by number."""
    names = list(permutations[0])
    variables: dict[str, Any] = {}
    for number, name in enumerate(names):
        values = np.stack([np.asarray(one[name]) for one in permutations])
        variables[f"group_{number}"] = (("model", *(f"dim_{number}_{k}" for k in range(values.ndim - 1))), values)
    return xr.Dataset(variables, attrs={"groups": json.dumps(names)})


def _permutations(stored: xr.Dataset) -> list[Permutation]:
    names = json.loads(stored.attrs["groups"])
    values = {name: stored[f"group_{number}"].values.astype(np.int64) for number, name in enumerate(names)}
    return [{name: held[k] for name, held in values.items()} for k in range(stored.sizes.get("model", 0))]
