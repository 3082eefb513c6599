"""Soft couplings of units: rounded to a permutation, or applied as they are, which changes the network's function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import Permutation, StateDict
from lmc.alignment.assignment import assign
from lmc.symmetry import Axis, PermutationGroup, PermutationSpec
from lmc.symmetry.sites import Roles


@dataclass(frozen=True, eq=False)
class Coupling:
    """How much of every unit of B goes to the place of every unit of A.

    Parameters
    ----------
    plan : array, shape (blocks, size, size)
        ``plan[b, i, j]``: mass between place i and unit j of B, in block b; not negative, finite. Where widths differ,
        shape (blocks, places, units).
    """

    plan: NDArray[np.float64]

    def rounded(self, group: PermutationGroup) -> NDArray[np.int64]:
        """Return the permutation that carries most of the mass."""
        return np.stack([assign(block) for block in self.plan]).reshape(group.shape)

    def makes(self) -> NDArray[np.float64]:
        """Return what makes the new units of the old: rows sum to one; a row without mass takes its rounded unit."""
        return _normalised(self.plan, axis=2)

    def reads(self) -> NDArray[np.float64]:
        """Return how the new units are read: what was read of an old unit is split, so that columns sum to one."""
        return _normalised(self.plan, axis=1)

    @property
    def square(self) -> bool:
        """Whether there are as many units as places, so that a permutation is near."""
        return self.plan.shape[1] == self.plan.shape[2]

    @property
    def hardness(self) -> float:
        """Share of the mass that lies on the rounded permutation, 1 for a permutation."""
        rows = np.arange(self.plan.shape[1])
        kept = sum(float(block[rows, assign(block)].sum()) for block in self.plan)
        return kept / max(float(self.plan.sum()), 1e-300)


def _normalised(plan: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    mass = plan.sum(axis=axis, keepdims=True)
    empty = mass <= 1e-12 * plan.sum() / plan[0].shape[0]
    if not empty.any():
        return plan / mass
    hard = np.zeros_like(plan)
    if plan.shape[1] == plan.shape[2]:
        for block, one in enumerate(plan):
            hard[block, np.arange(one.shape[0]), assign(one)] = 1.0
    else:  # no permutation to go by: the largest entry stands for what has no mass
        np.put_along_axis(hard, plan.argmax(axis=axis, keepdims=True), 1.0, axis)
    return np.where(empty, hard, plan / np.where(empty, 1.0, mass))


def spread(places: int, units: int) -> NDArray[np.float64]:
    """Return the plan that keeps the order of units, shape (places, units): the identity where there are as many."""
    ends = [np.linspace(0, 1, size + 1) for size in (places, units)]
    low = np.maximum(ends[0][:-1, None], ends[1][None, :-1])
    high = np.minimum(ends[0][1:, None], ends[1][None, 1:])
    mass = np.maximum(high - low, 0)
    return np.where(mass > 1e-12, mass, 0.0)


def apply_soft(
    spec: PermutationSpec,
    state: StateDict,
    couplings: Mapping[str, Coupling],
    permutation: Permutation,
    roles: Roles,
) -> dict[str, Tensor]:
    """Transport a state dict along couplings.

    Rows of a layer become weighted means of the rows of B; what the next layer read of a unit is split among the places
    it went to. With couplings that are permutations this is the permutation; with any other the function changes.

    Parameters
    ----------
    spec : PermutationSpec
        All groups.
    state : mapping of str to Tensor
        B's; left as it is.
    couplings : mapping of str to Coupling
        Of the groups that move softly.
    permutation : mapping of str to array
        Of all groups; those without a coupling are permuted.
    roles : Roles
        Which axes make units and which read them.

    Returns
    -------
    dict of str to Tensor
        The same names, dtypes and ties.
    """
    hard = {name: perm for name, perm in permutation.items() if name not in couplings}
    moved = spec.apply(state, hard)
    maps = {name: (coupling.makes(), coupling.reads()) for name, coupling in couplings.items()}
    done: dict[tuple[int, str], Tensor] = {}
    for name, tensor in moved.items():
        known = spec.aliases.get(name, name)
        key = (tensor.data_ptr() or id(tensor), known)
        if key not in done:
            done[key] = _transported(spec, known, tensor, maps, roles)
        moved[name] = done[key]
    return moved


def _transported(
    spec: PermutationSpec,
    name: str,
    tensor: Tensor,
    maps: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    roles: Roles,
) -> Tensor:
    for group, axis in spec.axes_of.get(name, ()):
        if group in maps:
            makes = (name, axis.dim, group) in roles.makes
            tensor = along(axis, tensor, maps[group][0 if makes else 1])
    return tensor


def along(axis: Axis, tensor: Tensor, matrices: NDArray[np.float64]) -> Tensor:
    """Return the tensor with the units of an axis mixed: ``new[i] = sum_j matrices[b, i, j] old[j]``, block by block.

    Parameters
    ----------
    axis : Axis
        Where the units lie.
    tensor : Tensor
        Left as it is.
    matrices : array, shape (blocks, size, size)
        One for each block.
    """
    where = axis.units(torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape))
    blocks, size, _ = matrices.shape
    rows = tensor.flatten()[where].double().reshape(blocks, size, -1)
    mixed = torch.from_numpy(matrices).to(rows) @ rows
    result = tensor.flatten().clone()
    result[where.flatten()] = mixed.flatten().to(tensor.dtype)
    return result.reshape(tensor.shape)
