"""Soft permutations: a doubly stochastic matrix in the place of every index vector, differentiable in the matrices.

On permutation matrices this is ``PermutationSpec.apply``; in between it is what relaxations optimise over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import Permutation, StateDict
from lmc.alignment.assignment import assign
from lmc.symmetry import Axis, PermutationSpec

Soft: TypeAlias = Mapping[str, Tensor]
"""Group name to a matrix for each block, shape (blocks, size, size); entry [b, i, j]: how much of unit j goes to i."""


def matrices(spec: PermutationSpec, permutation: Permutation, like: Tensor) -> dict[str, Tensor]:
    """Return a permutation as matrices, shape (blocks, size, size), of the dtype and device of ``like``."""
    found = {}
    for name, perm in spec.check(permutation).items():
        rows = torch.from_numpy(perm.reshape(-1, perm.shape[-1])).to(like.device)
        found[name] = torch.nn.functional.one_hot(rows, rows.shape[-1]).to(like.dtype)
    return found


def barycenter(spec: PermutationSpec, like: Tensor) -> dict[str, Tensor]:
    """Return the mean of all permutations: every entry is 1 / size."""
    return {g.name: like.new_full((g.blocks, g.size, g.size), 1 / g.size) for g in spec.groups}


def nearest(spec: PermutationSpec, worth: Mapping[str, Tensor]) -> dict[str, NDArray[np.int64]]:
    """Return the permutation that is worth most, one assignment for each block of each group."""
    found = {}
    for group in spec.groups:
        rows = np.stack([assign(block) for block in worth[group.name].detach().cpu().numpy()])
        found[group.name] = rows.reshape(group.shape)
    return found


def moving_names(spec: PermutationSpec) -> list[str]:
    """Return the names of the parameters that some group moves, without buffers and second names."""
    return [name for name in spec.axes_of if name not in spec.buffers]


def mix(axis: Axis, tensor: Tensor, matrix: Tensor) -> Tensor:
    """Mix the units of one axis of a tensor, ``new[i] = sum_j matrix[i, j] old[j]``, block by block.

    Parameters
    ----------
    axis : Axis
        Where the units lie.
    tensor : Tensor
        Floating; left as it is.
    matrix : Tensor, shape (blocks, size, size)
        Rows are the new units.
    """
    if axis.positions is None:
        return torch.tensordot(matrix[0], tensor, dims=([1], [axis.dim])).movedim(0, axis.dim)  # pyright: ignore[reportArgumentType]
    if axis.given is not None:
        return _mix_given(axis, tensor, matrix)
    blocks, copies, size = axis.positions.shape
    where = torch.from_numpy(axis.positions.ravel()).to(tensor.device)
    moved = tensor.movedim(axis.dim, 0)
    units = moved.index_select(0, where).reshape(blocks, copies, size, -1)
    mixed = torch.einsum("bij,bcjr->bcir", matrix, units).reshape(len(where), *moved.shape[1:])
    return moved.index_copy(0, where, mixed).movedim(0, axis.dim)


def _mix_given(axis: Axis, tensor: Tensor, matrix: Tensor) -> Tensor:
    """Mix along one dimension, with the matrix that the position in another one asks for."""
    assert axis.given is not None and axis.positions is not None
    other, owners = axis.given
    copies, size = axis.positions.shape[1:]
    where = torch.from_numpy(axis.positions[0].ravel()).to(tensor.device)
    moved = tensor.movedim((other, axis.dim), (0, 1))
    units = moved.index_select(1, where)
    own = matrix[torch.from_numpy(owners).to(tensor.device)]
    mixed = torch.einsum("oij,ocjr->ocir", own, units.reshape(len(owners), copies, size, -1)).reshape(units.shape)
    return moved.index_copy(1, where, mixed).movedim((0, 1), (other, axis.dim))


def soft_permute(spec: PermutationSpec, name: str, tensor: Tensor, soft: Soft) -> Tensor:
    """Return one tensor of the state mixed by the groups that lie in it, outer ones first; missing groups stay."""
    for group, axis in spec.axes_of.get(name, ()):
        if group in soft:
            tensor = mix(axis, tensor, soft[group])
    return tensor


def soft_apply(spec: PermutationSpec, state: StateDict, soft: Soft) -> dict[str, Tensor]:
    """Mix a state dict as :meth:`PermutationSpec.apply` permutes it.

    Parameters
    ----------
    spec : PermutationSpec
        What may be permuted.
    state : mapping of str to Tensor
        Left as it is; integers, and tensors that nothing moves, are returned as they are.
    soft : mapping of str to Tensor, shape (blocks, size, size)
        Doubly stochastic; gradients flow into it.

    Returns
    -------
    dict
        The same names; ties are kept.
    """
    done: dict[tuple[int, str], Tensor] = {}
    result = {}
    for name, tensor in state.items():
        known = spec.aliases.get(name, name)
        key = (tensor.data_ptr() or id(tensor), known)
        if key not in done:
            done[key] = soft_permute(spec, known, tensor, soft) if tensor.is_floating_point() else tensor
        result[name] = done[key]
    return result
