"""Groups that are matched together: heads and what lies inside them, and how any worth of pairs becomes a matching.

Most groups are alone: given what every pair of units is worth, one assignment is exact. A group with others inside it
is not: what pairing two heads is worth depends on how their insides are paired. There the worths of all places are
written as two state dicts whose inner product they are, and coordinate descent (weight matching) does the rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import Permutation
from lmc.alignment.assignment import assign
from lmc.alignment.weight_matching import WeightMatching
from lmc.symmetry import Axis, PermutationGroup, PermutationSpec


@dataclass(frozen=True, eq=False)
class Family:
    """A group and all groups inside it, outer ones first.

    Parameters
    ----------
    groups : tuple of PermutationGroup
        One for most.
    """

    groups: tuple[PermutationGroup, ...]

    @property
    def name(self) -> str:
        """Name of the outermost group."""
        return self.groups[0].name

    @property
    def alone(self) -> bool:
        """Whether one assignment (one for each block) decides it."""
        return len(self.groups) == 1

    @property
    def names(self) -> set[str]:
        """Names of the groups."""
        return {group.name for group in self.groups}

    def rows(self, axes: Mapping[str, Axis], tensor: Tensor) -> Tensor:
        """Return what is matched as rows, everything else as columns.

        Parameters
        ----------
        axes : mapping of str to Axis
            Where groups of the family lie in the tensor.
        tensor : Tensor
            Of the state dict, or an activation.

        Returns
        -------
        Tensor, shape (rows, columns)
            A row per unit; of a family of several groups, a row per position of the dimensions they lie in.
        """
        if self.alone:
            return axes[self.name].units(tensor)
        dims = _dims(axes)
        ahead = tensor.movedim(dims, tuple(range(len(dims))))
        return ahead.reshape(math.prod(ahead.shape[: len(dims)]), -1)

    def held(self, axes: Mapping[str, Axis]) -> dict[str, Axis]:
        """Return those of the axes that belong to the family."""
        return {name: axis for name, axis in axes.items() if name in self.names}


def families(spec: PermutationSpec, places: Sequence[Mapping[str, Axis]] = ()) -> list[Family]:
    """Return the groups of a spec, those that cannot be matched apart together, in the order of the forward pass.

    Parameters
    ----------
    spec : PermutationSpec
        All groups.
    places : sequence of mapping of str to Axis
        Activations, and where groups lie in them: what numbers the same elements goes together.
    """
    root = {group.name: group.name for group in spec.groups}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    inside = [(group.name, outer) for group in spec.groups for outer, _ in group.over if outer is not None]
    crossed = [pair for axes in places for pair in itertools.combinations(axes.items(), 2) if _meet(*pair, dims=True)]
    beside = [pair for held in spec.axes_of.values() for pair in itertools.combinations(held, 2) if _meet(*pair)]
    for one, other in (*inside, *((one[0], other[0]) for one, other in (*crossed, *beside))):
        root[find(other)] = find(one)
    joined: dict[str, list[PermutationGroup]] = {}
    for group in spec.groups:
        joined.setdefault(find(group.name), []).append(group)
    return [Family(tuple(sorted(groups, key=lambda group: len(group.over)))) for groups in joined.values()]


def _meet(one: tuple[str, Axis], other: tuple[str, Axis], *, dims: bool = False) -> bool:
    """Say whether two groups share positions of a dimension, or, where that counts, lie in two."""
    if one[0] == other[0] or one[1].dim != other[1].dim:
        return dims and one[0] != other[0]
    if one[1].positions is None or other[1].positions is None:
        return True
    return not set(one[1].positions.ravel().tolist()).isdisjoint(other[1].positions.ravel().tolist())


@dataclass(frozen=True, eq=False)
class Worth:
    """What pairing is worth at one place.

    Parameters
    ----------
    axes : mapping of str to Axis
        Groups of the family that lie there.
    shape : tuple of int
        Shape of the tensor there.
    pairs : Tensor, shape (rows, rows)
        What it is worth to put row j of B where row i of A is.
    """

    axes: Mapping[str, Axis]
    shape: tuple[int, ...]
    pairs: Tensor


def match(family: Family, worths: Sequence[Worth], seed: int = 0) -> tuple[dict[str, NDArray[np.int64]], float]:
    """Find the matching of a family that is worth most.

    Parameters
    ----------
    family : Family
        What is matched.
    worths : sequence of Worth
        One for every place; their sum is maximised.
    seed : int
        Of the restarts, where there are groups inside groups.

    Returns
    -------
    permutation : dict of str to array
        One for every group of the family; as they are where nothing is known of them.
    worth : float
        What it is worth.
    """
    if not worths:
        return {group.name: group.identity() for group in family.groups}, 0.0
    if family.alone:
        return _alone(family.groups[0], np.sum([worth.pairs.double().cpu().numpy() for worth in worths], axis=0))
    spec, a, b = _written(family, worths)
    found = WeightMatching(restarts=16, scale="plain", seed=seed).align(a, b, spec)
    return {name: np.asarray(perm) for name, perm in found.permutation.items()}, found.objective


def worth_of(family: Family, worths: Sequence[Worth], permutation: Permutation) -> float:
    """Return what a matching is worth."""
    if family.alone:
        group = family.groups[0]
        index = flat_index(group, np.asarray(permutation[group.name]))
        return float(sum(worth.pairs.double().cpu().numpy()[np.arange(group.units), index].sum() for worth in worths))
    spec, a, b = _written(family, worths)
    moved = spec.apply(b, {name: permutation[name] for name in family.names})
    return float(sum((a[name].double() * moved[name].double()).sum() for name in a))


def permuted_rows(family: Family, worth: Worth, permutation: Permutation, rows: Tensor) -> Tensor:
    """Return rows of one place (see :meth:`Family.rows`) in the order of a permutation of the family."""
    if family.alone:
        group = family.groups[0]
        return rows[torch.from_numpy(flat_index(group, np.asarray(permutation[group.name])))]
    spec, a, _ = _written(family, [Worth(worth.axes, worth.shape, rows)])
    return spec.apply(a, {name: permutation[name] for name in family.names})["0"].reshape(rows.shape)


def flat_index(group: PermutationGroup, permutation: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a permutation of each block as one index over all units, the blocks where they are."""
    return (np.arange(group.blocks)[:, None] * group.size + permutation.reshape(group.blocks, group.size)).ravel()


def _alone(group: PermutationGroup, worth: NDArray[np.float64]) -> tuple[dict[str, NDArray[np.int64]], float]:
    blocks = worth.reshape(group.blocks, group.size, group.blocks, group.size)
    rows = np.stack([assign(blocks[block, :, block]) for block in range(group.blocks)])
    index = flat_index(group, rows)
    return {group.name: rows.reshape(group.shape)}, float(worth[np.arange(group.units), index].sum())


def _written(family: Family, worths: Sequence[Worth]) -> tuple[PermutationSpec, dict[str, Tensor], dict[str, Tensor]]:
    """Write worths as state dicts: the inner product of A's with permuted B's is what the permutation is worth."""
    axes: dict[str, list[Axis]] = {group.name: [] for group in family.groups}
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for number, worth in enumerate(worths):
        dims = _dims(worth.axes)
        sizes = [worth.shape[dim] for dim in dims]
        name = str(number)
        a[name] = worth.pairs.reshape(*sizes, -1)
        b[name] = torch.eye(len(worth.pairs), dtype=worth.pairs.dtype, device=worth.pairs.device).reshape(*sizes, -1)
        for group, axis in worth.axes.items():
            given = None if axis.given is None else (dims.index(axis.given[0]), axis.given[1])
            axes[group].append(Axis(name, dims.index(axis.dim), axis.positions, given))
    groups = tuple(replace(group, axes=tuple(axes[group.name])) for group in family.groups)
    return PermutationSpec(groups, {name: tuple(tensor.shape) for name, tensor in a.items()}), a, b


def _dims(axes: Mapping[str, Axis]) -> tuple[int, ...]:
    """Return the dimensions that a family fills, or that tell its blocks apart."""
    return tuple(sorted({d for axis in axes.values() for d in (axis.dim, *(axis.given[:1] if axis.given else ()))}))
