"""Networks carried along couplings into other places, also where the number of units is another one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import Permutation, StateDict
from lmc.alignment.coupling import Coupling, along
from lmc.symmetry import Axis, PermutationSpec
from lmc.symmetry.sites import Roles

Maps = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Group name to (makes, reads), shape (blocks, target units, units) each: how units are made, and how they are read."""


def transport_soft(
    state: StateDict,
    spec: PermutationSpec,
    target: PermutationSpec,
    couplings: Mapping[str, Coupling],
    permutation: Permutation,
    roles: Roles,
) -> dict[str, Tensor]:
    """Carry a state dict into the widths of a target along couplings, as ``apply_soft`` does within one width.

    Parameters
    ----------
    state : mapping of str to Tensor
        Of the spec; left as it is.
    spec, target : PermutationSpec
        Where the groups lie before and after.
    couplings : mapping of str to Coupling
        Of every group whose size differs, and of any other that moves softly.
    permutation : mapping of str to array
        Of groups without a coupling; those that are missing stay.
    roles : Roles
        Which axes make units.

    Returns
    -------
    dict of str to Tensor
        The target's shapes; the state's names, dtypes and ties.
    """
    hard = {name: perm for name, perm in permutation.items() if name not in couplings}
    maps = {name: (coupling.makes(), coupling.reads()) for name, coupling in couplings.items()}
    moved = transport(spec.apply(state, hard), spec, target, maps, roles)
    cast: dict[int, Tensor] = {}
    for name, tensor in moved.items():
        cast.setdefault(id(tensor), tensor.to(state[name].dtype))
    return {name: cast[id(tensor)] for name, tensor in moved.items()}


def transport(state: StateDict, spec: PermutationSpec, target: PermutationSpec, maps: Maps, roles: Roles) -> StateDict:
    """Carry a state dict into the shapes of a target.

    Parameters
    ----------
    state : mapping of str to Tensor
        Of the spec; left as it is.
    spec, target : PermutationSpec
        Where the groups lie before and after; they correspond (see ``check_correspondence``).
    maps : mapping of str to (makes, reads)
        Matrices of every group whose size differs, and of any other that is to move: ``new[i] = sum_j m[b, i, j]
        old[j]`` along axes that make units with the first, along those that read them with the second.
    roles : Roles
        Which axes make units.

    Returns
    -------
    dict of str to Tensor
        float64 where the state is floating and was moved; ties are kept.
    """
    done: dict[tuple[int, str], Tensor] = {}
    result = {}
    for name, tensor in state.items():
        known = target.aliases.get(name, name)
        key = (tensor.data_ptr() or id(tensor), known)
        if key not in done:
            done[key] = transport_one(known, tensor, spec, target, maps, roles)
        result[name] = done[key]
    return result


def transport_one(
    name: str, tensor: Tensor, spec: PermutationSpec, target: PermutationSpec, maps: Maps, roles: Roles
) -> Tensor:
    """Carry one tensor of a state dict, known by the name that the groups know it by."""
    before = dict(_placed(spec, name))
    held = [(group, before[group, axis.dim], axis) for (group, _), axis in _placed(target, name) if group in maps]
    if not held or not tensor.is_floating_point():
        return tensor
    tensor = tensor.double()
    for dim in range(tensor.dim()):
        parts = [
            (old, new, maps[group][0 if (name, dim, group) in roles.makes else 1])
            for group, old, new in held
            if new.dim == dim
        ]
        tensor = carried(tensor, dim, target.shapes[name][dim], parts)
    return tensor


def carried(tensor: Tensor, dim: int, length: int, parts: list[tuple[Axis, Axis, NDArray[np.float64]]]) -> Tensor:
    """Return a tensor with the groups of one dimension carried, as :func:`resized` where their sizes change.

    Groups of equal sizes may lie in one another, outer ones first.
    """
    if any(matrices.shape[1] != matrices.shape[2] for *_, matrices in parts):
        return resized(tensor, dim, length, parts)
    for _, new, matrices in parts:
        order = order_of(matrices)
        tensor = along(new, tensor, matrices) if order is None else moved(new, tensor, order)
    return tensor


def order_of(matrices: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return the permutation that matrices are, shape (blocks, units), None where they are none: moving is exact."""
    order = matrices.argmax(axis=2)
    moved = np.sort(order, axis=1)
    ones = np.take_along_axis(matrices, order[..., None], axis=2)
    hard = (np.count_nonzero(matrices, axis=2) == 1).all() and (np.abs(ones - 1) <= 1e-12).all()
    return order if hard and (moved == np.arange(order.shape[1])).all() else None


def moved(axis: Axis, tensor: Tensor, order: NDArray[np.int64]) -> Tensor:
    """Return a tensor with the units of an axis in another order, block by block."""
    return axis.move(tensor, order[0] if axis.positions is None else order)


def _placed(spec: PermutationSpec, name: str) -> list[tuple[tuple[str, int], Axis]]:
    return [((group, axis.dim), axis) for group, axis in spec.axes_of.get(name, ())]


def resized(tensor: Tensor, dim: int, length: int, parts: list[tuple[Axis, Axis, NDArray[np.float64]]]) -> Tensor:
    """Return a tensor with one dimension carried into another length.

    Parameters
    ----------
    tensor : Tensor
        float64; left as it is.
    dim : int
        The dimension.
    length : int
        Its new length.
    parts : list of (Axis, Axis, array)
        Groups that lie in it side by side: where before, where afterwards, and the matrices, shape (blocks, new, old).
        Positions that none of them holds keep their order.
    """
    rows = tensor.movedim(dim, 0)
    result = rows.new_zeros((length, *rows.shape[1:]))
    free_old, free_new = np.ones(len(rows), bool), np.ones(length, bool)
    for old, new, matrices in parts:
        matrix = torch.from_numpy(np.ascontiguousarray(matrices)).to(rows)
        where_old, where_new = positions(old, matrices.shape[2]), positions(new, matrices.shape[1])
        free_old[where_old], free_new[where_new] = False, False
        blocks, copies, size = where_old.shape
        units = rows[torch.from_numpy(where_old.ravel())].reshape(blocks, copies, size, -1)
        mixed = torch.einsum("bij,bcjr->bcir", matrix, units).reshape(-1, *rows.shape[1:])
        result[torch.from_numpy(where_new.ravel())] = mixed
    result[torch.from_numpy(np.flatnonzero(free_new))] = rows[torch.from_numpy(np.flatnonzero(free_old))]
    return result.movedim(0, dim)


def positions(axis: Axis, size: int) -> NDArray[np.int64]:
    """Return where the units of an axis lie in its dimension, shape (blocks, copies, size)."""
    return np.arange(size)[None, None] if axis.positions is None else axis.positions
