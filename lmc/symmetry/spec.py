"""Permutation specs: which dimensions of which tensors are permuted together, and how to do it to a state dict."""

from __future__ import annotations

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
    positions : array of int, shape (copies, size), optional
        ``positions[c, e]`` is where unit ``e`` of copy ``c`` lies; None where the group is the whole dimension.
        Flattened maps hold a unit height x width times, fused layers only in a stretch.
    """

    param: str
    dim: int
    positions: NDArray[np.int64] | None = None

    def units(self, tensor: Tensor) -> Tensor:
        """Return the tensor with one row per unit, shape (size, everything else)."""
        if self.positions is None:
            return tensor.movedim(self.dim, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]
        copies, size = self.positions.shape
        where = torch.from_numpy(self.positions.ravel()).to(tensor.device)
        rows = tensor.index_select(self.dim, where).movedim(self.dim, 0)
        return rows.reshape(copies, size, -1).transpose(0, 1).reshape(size, -1)

    def __str__(self) -> str:
        """Write it as ``fc1.weight[0]``; a star marks a dimension the group does not fill alone."""
        return f"{self.param}[{self.dim}{'' if self.positions is None else '*'}]"


@dataclass(frozen=True, eq=False)
class PermutationGroup:
    """Units that may be permuted among each other, and every axis that has to follow.

    Parameters
    ----------
    name : str
        The layer that makes the units.
    size : int
        Number of units.
    axes : tuple of Axis
        Every dimension they lie in.
    """

    name: str
    size: int
    axes: tuple[Axis, ...]


@dataclass(frozen=True, eq=False, repr=False)
class PermutationSpec:
    """All permutation symmetries of an architecture.

    Parameters
    ----------
    groups : tuple of PermutationGroup
        In the order of the forward pass.
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
        """Sum of the sizes of all groups."""
        return sum(group.size for group in self.groups)

    @property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of permutations."""
        return sum(math.lgamma(group.size + 1) for group in self.groups) / math.log(10)

    @cached_property
    def axes_of(self) -> Mapping[tuple[str, int], tuple[tuple[str, Axis], ...]]:
        """(param, dim) to the groups that lie in it, each with its axis."""
        found: dict[tuple[str, int], tuple[tuple[str, Axis], ...]] = {}
        for group in self.groups:
            for axis in group.axes:
                key = (axis.param, axis.dim)
                found[key] = (*found.get(key, ()), (group.name, axis))
        return found

    def identity(self) -> dict[str, NDArray[np.int64]]:
        """Return the permutation that moves nothing."""
        return {group.name: np.arange(group.size) for group in self.groups}

    def random(self, seed: int) -> dict[str, NDArray[np.int64]]:
        """Return a permutation drawn uniformly from all of them."""
        rng = np.random.default_rng(seed)
        return {group.name: rng.permutation(group.size) for group in self.groups}

    def inverse(self, permutation: Permutation) -> dict[str, NDArray[np.int64]]:
        """Return the permutation that undoes another: ``apply(apply(s, p), inverse(p))`` is ``s``."""
        return {name: invert(perm) for name, perm in self.check(permutation).items()}

    def compose(self, first: Permutation, then: Permutation) -> dict[str, NDArray[np.int64]]:
        """Return the permutation that equals ``first`` followed by ``then``."""
        one, two = self.check(first), self.check(then)
        return {name: compose(one[name], two[name]) for name in one}

    def check(self, permutation: Permutation) -> dict[str, NDArray[np.int64]]:
        """Return the permutation with every group present and every index vector proved to be one.

        Raises
        ------
        UsageError
            For an unknown group, or an index vector that is no permutation of its group.
        """
        sizes = {group.name: group.size for group in self.groups}
        for name, perm in permutation.items():
            if name not in sizes:
                raise unknown("permutation group", name, sizes)
            perm = np.asarray(perm)
            if perm.shape != (sizes[name],) or not np.array_equal(np.sort(perm), np.arange(sizes[name])):
                raise UsageError(f"Group {name!r} needs a permutation of 0..{sizes[name] - 1}, got shape {perm.shape}.")
        return {**self.identity(), **{name: np.asarray(perm, dtype=np.int64) for name, perm in permutation.items()}}

    def apply(self, state: StateDict, permutation: Permutation) -> dict[str, Tensor]:
        """Permute a state dict.

        Parameters
        ----------
        state : mapping of str to Tensor
            Left as it is; ties (names that share a tensor), dtypes and the order of names are kept.
        permutation : mapping of str to array of int, shape (size,)
            Group name to index vector, ``new[i] = old[perm[i]]``; groups that are missing stay as they are.

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
                moved[key] = self._permuted(known, tensor, perms)
            result[name] = moved[key]
        return result

    def _permuted(self, name: str, tensor: Tensor, perms: Mapping[str, NDArray[np.int64]]) -> Tensor:
        for dim in range(tensor.dim()):
            index = self.index(name, dim, perms)
            if index is not None:
                tensor = tensor.index_select(dim, torch.from_numpy(index).to(tensor.device))
        return tensor

    def index(self, name: str, dim: int, perms: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64] | None:
        """Return where each position of a dimension comes from, or None where nothing in it moves."""
        index: NDArray[np.int64] | None = None
        for group, axis in self.axes_of.get((name, dim), ()):
            if axis.positions is None:
                return perms[group]
            step = np.arange(self.shapes[name][dim])
            step[axis.positions] = axis.positions[:, perms[group]]
            index = step if index is None else index[step]
        return index

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
