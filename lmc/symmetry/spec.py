"""Permutation specs: which dimensions of which tensors are permuted together, and how to do it to a state dict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import MismatchError, UsageError, did_you_mean, unknown
from lmc._types import Permutation, StateDict, compose, invert

if TYPE_CHECKING:
    from lmc.symmetry.export import Exported
    from lmc.symmetry.verify import Verification


@dataclass(frozen=True, eq=False)
class Axis:
    """Where a group lies in one dimension of one tensor.

    Parameters
    ----------
    param : str
        Name in the state dict.
    dim : int
        Dimension of that tensor.
    positions : array of int, shape (blocks, copies, size), optional
        ``positions[b, c, e]`` is where unit ``e`` of copy ``c`` lies in block ``b``; None where the group is the whole
        dimension. Flattened maps hold a unit height x width times, fused layers only in a stretch.
    given : (dim, blocks), optional
        Another dimension of the tensor that tells the blocks apart, and the block of each of its positions: a tensor of
        shape [heads, head_dim, ...] is permuted along its second dimension, differently for each index of its first.
    """

    param: str
    dim: int
    positions: NDArray[np.int64] | None = None
    given: tuple[int, NDArray[np.int64]] | None = None

    def units(self, tensor: Tensor) -> Tensor:
        """Return the tensor with one row per unit, blocks in order, shape (blocks * size, everything else)."""
        if self.positions is None:
            return tensor.movedim(self.dim, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]
        if self.given is not None:
            return self._units_across(tensor)
        return self.parts(tensor).reshape(self.positions.shape[0] * self.positions.shape[2], -1)

    def parts(self, tensor: Tensor) -> Tensor:
        """Return what the group holds of a dimension taken apart, shape (blocks, size, copies, everything else).

        Not for an axis that is the whole dimension, nor for one whose blocks another dimension tells apart.
        """
        assert self.positions is not None and self.given is None
        shape = self.positions.shape
        if self._nesting is None:
            where = torch.from_numpy(self.positions.ravel()).to(tensor.device)
            rows = tensor.index_select(self.dim, where).movedim(self.dim, 0)
            return rows.reshape(*shape, *rows.shape[1:]).transpose(1, 2)
        # A view: of a flattened map every further copy would be as large as the layer.
        start, order = self._nesting
        stretch = tensor.narrow(self.dim, start, self.positions.size).movedim(self.dim, 0)
        apart = stretch.unflatten(0, [shape[i] for i in order])
        return apart.permute(*(order.index(i) for i in (0, 2, 1)), *range(3, apart.dim()))

    @cached_property
    def _nesting(self) -> tuple[int, tuple[int, ...]] | None:
        """Where the positions fill a stretch: its start, and which of their dims runs slowest, next, fastest."""
        assert self.positions is not None
        start = int(self.positions.min()) if self.positions.size else 0
        stretch = np.arange(start, start + self.positions.size)
        orders = itertools.permutations(range(3))
        fits = (order for order in orders if np.array_equal(self.positions.transpose(order).ravel(), stretch))
        return next(((start, order) for order in fits), None)

    def _units_across(self, tensor: Tensor) -> Tensor:
        assert self.given is not None and self.positions is not None
        other, owners = self.given
        order = torch.from_numpy(np.argsort(owners, kind="stable")).to(tensor.device)
        where = torch.from_numpy(self.positions[0].ravel()).to(tensor.device)
        rows = tensor.index_select(other, order).index_select(self.dim, where).movedim((other, self.dim), (0, 1))
        blocks, (copies, size) = int(owners.max()) + 1, self.positions.shape[1:]
        rows = rows.reshape(blocks, len(owners) // blocks, copies, size, -1)
        return rows.permute(0, 3, 1, 2, 4).reshape(blocks * size, -1)

    def index(self, length: int, permutation: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where each of the dimension's ``length`` positions comes from: ``new[i] = old[index[i]]``.

        Not for an axis whose blocks another dimension tells apart (``given``): there is no one index for all of them.
        """
        if self.positions is None:
            return permutation
        perms = permutation.reshape(-1, permutation.shape[-1])
        blocks = np.arange(len(perms))[:, None, None]
        copies = np.arange(self.positions.shape[1])[:, None]
        index = np.arange(length)
        index[self.positions] = self.positions[blocks, copies, perms[:, None, :]]
        return index

    def move(self, tensor: Tensor, permutation: NDArray[np.int64]) -> Tensor:
        """Return the tensor with the units of this axis permuted: ``new[i] = old[perm[i]]``, block by block."""
        if self.given is None or self.positions is None:
            index = self.index(tensor.shape[self.dim], permutation)
            return tensor.index_select(self.dim, torch.from_numpy(index).to(tensor.device))
        perms = permutation.reshape(-1, permutation.shape[-1])
        blocks = np.arange(len(perms))[:, None, None]
        copies = np.arange(self.positions.shape[1])[:, None]
        table = np.tile(np.arange(tensor.shape[self.dim]), (len(perms), 1))
        table[blocks, self.positions] = self.positions[0][copies, perms[:, None, :]]
        return _gather(tensor, self.dim, self.given[0], table[self.given[1]])

    def __str__(self) -> str:
        """Write it as ``fc1.weight[0]``; a star marks a dimension the group does not fill alone."""
        return f"{self.param}[{self.dim}{'' if self.positions is None else '*'}]"


def _gather(tensor: Tensor, dim: int, other: int, table: NDArray[np.int64]) -> Tensor:
    """Index one dimension differently at each position of another: ``table[position of other, position of dim]``."""
    index = torch.from_numpy(np.ascontiguousarray(table if other < dim else table.T)).to(tensor.device)
    shape = [size if d in (dim, other) else 1 for d, size in enumerate(tensor.shape)]
    return tensor.gather(dim, index.reshape(shape).expand(tensor.shape))


@dataclass(frozen=True, eq=False)
class PermutationGroup:
    """Units that may be permuted among each other, and every axis that has to follow.

    Parameters
    ----------
    name : str
        The layer that makes the units.
    size : int
        Number of units that change places with each other.
    axes : tuple of Axis
        Every dimension they lie in.
    over : tuple of (group name or None, int)
        Outer axes, outermost first, whose every joint index (block) has a permutation of these units of its own: the
        name of their group, None where they are frozen, and their size. Heads, for what lies inside them.
    kind : str
        What the units are, for people: ``units``, ``channels``, ``residual stream`` (several layers add into it),
        ``heads``, ``inside head``, ``heads inside heads`` (grouped queries), ``groups``, ``inside group``.
    """

    name: str
    size: int
    axes: tuple[Axis, ...]
    over: tuple[tuple[str | None, int], ...] = ()
    kind: str = "units"

    @property
    def blocks(self) -> int:
        """How many permutations of its own the group has."""
        return math.prod(size for _, size in self.over)

    @property
    def units(self) -> int:
        """Number of units in all blocks."""
        return self.blocks * self.size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its index vectors: (size,), or (blocks, size) where there are outer axes."""
        return (self.blocks, self.size) if self.over else (self.size,)

    def identity(self) -> NDArray[np.int64]:
        """Return the permutation that moves nothing."""
        return np.broadcast_to(np.arange(self.size), self.shape).copy()

    def old_blocks(self, permutation: Permutation) -> NDArray[np.int64]:
        """Return, for each block after a permutation of the outer groups, the block it was before."""
        old = np.zeros(1, dtype=np.int64)
        new = np.zeros(1, dtype=np.int64)
        for name, size in self.over:
            perm = np.arange(size) if name is None else np.asarray(permutation[name])
            chosen = np.broadcast_to(perm, (len(new), size)) if perm.ndim == 1 else perm[new]
            old = (old[:, None] * size + chosen).ravel()
            new = (new[:, None] * size + np.arange(size)).ravel()
        return old


@dataclass(frozen=True, eq=False, repr=False)
class PermutationSpec:
    """All permutation symmetries of an architecture.

    Parameters
    ----------
    groups : tuple of PermutationGroup
        In the order of the forward pass, outer groups before what lies inside them.
    shapes : mapping
        Name of every tensor of the state dict to its shape.
    frozen : mapping
        (param, dim) of every dimension that holds positions no group moves, to the op or reason that froze them.
    aliases : mapping
        Name of a tied tensor to the name that the groups know it by.
    buffers : frozenset of str
        Names that are no parameters (running statistics): permuted with their group, not part of any objective.
    exported : Exported, optional
        The graph the spec was found in, which ``verify`` runs.
    """

    groups: tuple[PermutationGroup, ...]
    shapes: Mapping[str, tuple[int, ...]]
    frozen: Mapping[tuple[str, int], str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    exported: Exported | None = None

    def __repr__(self) -> str:
        """Say what matters in one line."""
        return f"PermutationSpec({len(self.groups)} groups, {self.units} units, 10^{self.log10_size:.0f} permutations)"

    def __getitem__(self, name: str) -> PermutationGroup:
        """Return the group of that name."""
        for group in self.groups:
            if group.name == name:
                return group
        raise unknown("permutation group", name, (group.name for group in self.groups))

    @property
    def units(self) -> int:
        """Number of units in all groups."""
        return sum(group.units for group in self.groups)

    @property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of permutations."""
        return sum(group.blocks * math.lgamma(group.size + 1) for group in self.groups) / math.log(10)

    @property
    def coverage(self) -> float:
        """Share of the parameters that some group moves, between 0 and 1; tied tensors count once, buffers do not."""
        total = moved = 0.0
        for name, shape in self.shapes.items():
            if name in self.buffers or name in self.aliases:
                continue
            stay = [np.ones(size, dtype=bool) for size in shape]
            for _, axis in self.axes_of.get(name, ()):
                stay[axis.dim][slice(None) if axis.positions is None else axis.positions] = False
            total += math.prod(shape)
            moved += math.prod(shape) - math.prod(int(held.sum()) for held in stay)
        return moved / total if total else 0.0

    @cached_property
    def axes_of(self) -> Mapping[str, tuple[tuple[str, Axis], ...]]:
        """Name of a tensor to the groups that lie in it, outer ones first, each with its axis."""
        found: dict[str, tuple[tuple[str, Axis], ...]] = {}
        for group in sorted(self.groups, key=lambda group: len(group.over)):
            for axis in group.axes:
                found[axis.param] = (*found.get(axis.param, ()), (group.name, axis))
        return found

    def identity(self) -> dict[str, NDArray[np.int64]]:
        """Return the permutation that moves nothing."""
        return {group.name: group.identity() for group in self.groups}

    def random(self, seed: int) -> dict[str, NDArray[np.int64]]:
        """Return a permutation drawn uniformly from all of them."""
        rng = np.random.default_rng(seed)
        return {group.name: rng.permuted(group.identity(), axis=-1) for group in self.groups}

    def inverse(self, permutation: Permutation) -> dict[str, NDArray[np.int64]]:
        """Return the permutation that undoes another: ``apply(apply(s, p), inverse(p))`` is ``s``."""
        perms = self.check(permutation)
        undone: dict[str, NDArray[np.int64]] = {}
        for group in self.groups:
            undone[group.name] = invert(perms[group.name])
            if group.over:
                undone[group.name] = undone[group.name][group.old_blocks(undone)]
        return undone

    def compose(self, first: Permutation, then: Permutation) -> dict[str, NDArray[np.int64]]:
        """Return the permutation that equals ``first`` followed by ``then``."""
        one, two = self.check(first), self.check(then)
        moved = {g.name: one[g.name][g.old_blocks(two)] if g.over else one[g.name] for g in self.groups}
        return {name: compose(perm, two[name]) for name, perm in moved.items()}

    def check(self, permutation: Permutation) -> dict[str, NDArray[np.int64]]:
        """Return the permutation with every group present and every index vector proved to be one.

        Raises
        ------
        UsageError
            For an unknown group, or an index vector that is no permutation of its group.
        """
        groups = {group.name: group for group in self.groups}
        for name, perm in permutation.items():
            if name not in groups:
                raise unknown("permutation group", name, groups)
            perm, group = np.asarray(perm), groups[name]
            if perm.shape != group.shape or not np.array_equal(np.sort(perm, axis=-1), group.identity()):
                rows = f" in each of {group.blocks} rows" if group.over else ""
                raise UsageError(
                    f"Group {name!r} needs a permutation of 0..{group.size - 1}{rows}, got shape {perm.shape}."
                )
        return {**self.identity(), **{name: np.asarray(perm, dtype=np.int64) for name, perm in permutation.items()}}

    def apply(self, state: StateDict, permutation: Permutation) -> dict[str, Tensor]:
        """Permute a state dict.

        Parameters
        ----------
        state : mapping of str to Tensor
            Left as it is; ties (names that share a tensor), dtypes and the order of names are kept.
        permutation : mapping of str to array of int, shape (size,) or (blocks, size)
            Group name to index vector, ``new[i] = old[perm[i]]``; groups that are missing stay as they are. With outer
            groups, ``new[h, i] = old[outer[h], perm[h, i]]``.

        Returns
        -------
        dict
            The same names; tensors that nothing moves are the caller's own.

        Raises
        ------
        MismatchError
            If the state dict is not of this architecture.
        """
        perms = self.check(permutation)
        self.check_state(state)
        moved: dict[tuple[int, str], Tensor] = {}
        result = {}
        for name, tensor in state.items():
            known = self.aliases.get(name, name)
            # state_dict() wraps tied tensors anew: they are known by their memory.
            key = (tensor.data_ptr() or id(tensor), known)
            if key not in moved:
                moved[key] = self.permute(known, tensor, perms)
            result[name] = moved[key]
        return result

    def permute(
        self, name: str, tensor: Tensor, perms: Permutation, left_behind: tuple[str, int] | None = None
    ) -> Tensor:
        """Return one tensor of the state permuted, all but the (group, dim) that is left behind; missing groups stay.

        Outer groups move first, so that a block's own permutation finds it in its new place.
        """
        for group, axis in self.axes_of.get(name, ()):
            if group in perms and left_behind != (group, axis.dim):
                tensor = axis.move(tensor, perms[group])
        return tensor

    def check_state(self, state: StateDict) -> None:
        """Raise MismatchError where names or shapes differ from the architecture's."""
        problems = list(_differences(self.shapes, state))
        if problems:
            shown = "\n".join(f"  {problem}" for problem in problems[:6])
            more = f"\n  and {len(problems) - 6} more" if len(problems) > 6 else ""
            raise MismatchError(f"The state dict is not of the architecture the symmetries belong to:\n{shown}{more}")

    def verify(self, model: nn.Module, example_inputs: Sequence[Any], **settings: Any) -> Verification:
        """Prove at run time that the groups leave the network's function alone: :func:`lmc.symmetry.verify.verify`."""
        from lmc.symmetry.verify import verify

        return verify(self, model, example_inputs, **settings)


def _differences(shapes: Mapping[str, tuple[int, ...]], state: StateDict) -> Iterator[str]:
    for name, tensor in state.items():
        if name not in shapes:
            yield f"{name!r} is unexpected.{did_you_mean(name, shapes)}"
        elif tuple(tensor.shape) != tuple(shapes[name]):
            yield f"{name!r} has shape {tuple(tensor.shape)}, the architecture has {tuple(shapes[name])}"
    for name in shapes:
        if name not in state and not name.endswith("num_batches_tracked"):
            yield f"{name!r} is missing.{did_you_mean(name, state)}"
