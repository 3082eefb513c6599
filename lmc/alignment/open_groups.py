"""Groups of which nothing is known yet: an inner product in which they count as the mean of all their permutations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lmc.symmetry import Axis


def blurred(others: Iterable[Axis], axis: Axis, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors whose products along one axis are those of A with the mean of B over all orders of others.

    Such a mean is the same for all units that may change places, so that A's need only be summed: products as many
    times smaller as there are units.

    Parameters
    ----------
    others : iterable of Axis
        Where the groups of unknown order lie, in other dimensions than ``axis``.
    axis : Axis
        Whose units are compared.
    a, b : Tensor
        The tensor they lie in, of both networks; left as they are.

    Returns
    -------
    tuple of Tensor
        A's summed and B's averaged, smaller in the dimensions of the others where they are plain.
    """
    for dim, held in itertools.groupby(sorted(others, key=lambda other: other.dim), key=lambda other: other.dim):
        here = list(held)
        if any(other.positions is None for other in here):
            a, b = a.sum(dim, keepdim=True), b.mean(dim, keepdim=True)
        elif _apart(here) and not (axis.given and axis.given[0] == dim):
            a, b = pooled(here, a, mean=False), pooled(here, b, mean=True)
        else:
            for other in here:
                b = averaged(other, b)
    return a, b


def pooled(axes: Sequence[Axis], tensor: Tensor, *, mean: bool) -> Tensor:
    """Return a tensor with one position for the units of each copy in each block: their sum or their mean.

    Positions of the dimension that belong to none of the axes follow, as they are.
    """
    dim, rest = axes[0].dim, torch.ones(tensor.shape[axes[0].dim], dtype=torch.bool)
    found = []
    for axis in axes:
        assert axis.positions is not None
        rest[torch.from_numpy(axis.positions.ravel())] = False
        parts = axis.parts(tensor)
        found.append((parts.mean(1) if mean else parts.sum(1)).flatten(0, 1))
    where = rest.nonzero().ravel().to(tensor.device)
    return torch.cat([*found, tensor.index_select(dim, where).movedim(dim, 0)]).movedim(0, dim)


def _apart(axes: Sequence[Axis]) -> bool:
    """Say whether axes in one dimension share no position, and none of them is told apart by another dimension."""
    held = [position for axis in axes if axis.positions is not None for position in axis.positions.ravel().tolist()]
    return all(axis.given is None for axis in axes) and len(set(held)) == len(held)


def averaged(axis: Axis, tensor: Tensor) -> Tensor:
    """Return a tensor with every unit of one axis replaced by the mean of those it may change places with."""
    if axis.positions is None:
        return tensor.mean(axis.dim, keepdim=True).expand_as(tensor)
    blocks, copies, size = axis.positions.shape
    where = torch.from_numpy(axis.positions.ravel()).to(tensor.device)
    moved = tensor.movedim(axis.dim, 0)
    units = moved.index_select(0, where).reshape(blocks, copies, size, *moved.shape[1:])
    means = units.mean(2, keepdim=True).expand_as(units).reshape(len(where), *moved.shape[1:])
    return moved.index_copy(0, where, means).movedim(0, axis.dim)
