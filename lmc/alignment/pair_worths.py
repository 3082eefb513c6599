"""What every pairing of units is worth, kept up while B moves: only what changed is multiplied again."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import StateDict
from lmc.alignment.open_groups import blurred
from lmc.evaluation import inner_products
from lmc.symmetry import Axis, PermutationSpec

_SMALL = 2e9
"""Multiplications of all Gram matrices up to which they are made in float64: well under a second, and units that
training has made almost alike (to 1e-3 in grokked attention heads) are told apart."""

_LARGE = 2**33
"""Multiplications above which a product is worth the search for the machine's fastest kernel."""


class Problem:
    """What all restarts share: the parameters, and where the groups lie in them.

    Half-precision tensors stay as they are, and are widened a piece at a time where they are multiplied.

    Parameters
    ----------
    a, b : mapping of str to Tensor
        The two networks; not modified.
    spec : PermutationSpec
        What may be permuted.
    shares : mapping of str to float, optional
        What a tensor's inner product is multiplied by; by default 1.
    """

    def __init__(
        self, a: StateDict, b: StateDict, spec: PermutationSpec, shares: Mapping[str, float] | None = None
    ) -> None:
        self.spec = spec
        self._shares = shares or {}
        names = {axis.param for group in spec.groups for axis in group.axes} - spec.buffers
        self.groups = {group.name: group for group in spec.groups}
        self.axes = {g.name: [axis for axis in g.axes if axis.param in names] for g in spec.groups}
        self.lying = {name: spec.axes_of[name] for name in names}
        self.work = sum(
            self.groups[name].units * a[axis.param].numel() for name, axes in self.axes.items() for axis in axes
        )
        self.dtype = torch.float64 if self.work <= _SMALL else torch.float32
        kept = self.dtype if self.work <= _SMALL else None
        self.a = {name: a[name].detach().to(kept or a[name].dtype) for name in sorted(names)}
        self.b = {name: b[name].detach().to(kept or b[name].dtype) for name in sorted(names)}
        self._entangled: dict[str, bool] = {}
        self.device = next(iter(self.a.values())).device if self.a else torch.device("cpu")
        self.inside = {g.name: [c.name for c in spec.groups if c.over == ((g.name, g.size),)] for g in spec.groups}
        self.outer = {child: name for name, children in self.inside.items() for child in children}
        over = {g.name: [outer for outer, _ in g.over] for g in spec.groups if g.over}
        self.nested = {*over, *(outer for outers in over.values() for outer in outers)}
        # What no group moves adds the same to every permutation.
        fixed = {name: tensor for name, tensor in b.items() if name not in names | spec.buffers | set(spec.aliases)}
        self.fixed = inner(a, fixed, self._shares)

    def score(self, b: StateDict) -> float:
        """Return what is maximised, of the tensors given, without those that no group moves."""
        return inner(self.a, b, self._shares)

    def family(self, name: str) -> list[str]:
        """Return a group and what lies inside it: they move in one step."""
        return [name, *self.inside[name]]

    def relatives(self, name: str) -> list[str]:
        """Return the whole family a group belongs to, itself included."""
        return self.family(self.outer.get(name, name))

    def neighbours(self, name: str) -> set[str]:
        """Return the groups whose worth changes when this one moves: those in a tensor with it."""
        family = self.family(name)
        params = {axis.param for member in family for axis in self.axes[member]}
        near = {other for param in params for other, _ in self.lying[param]}
        return near if self.entangled(name) else near - set(family)

    def entangled(self, name: str) -> bool:
        """Say whether a step's worth is not exactly what it gains.

        So it is where a group lies twice in one tensor, or two groups inside the same one meet in a tensor: there the
        objective is no sum over the units.
        """
        if name not in self._entangled:
            params = [axis.param for axis in self.axes[name]]
            pairs = itertools.combinations([self.axes[child] for child in self.inside[name]], 2)
            met = any(_meet(x, y) for one, other in pairs for x, y in itertools.product(one, other))
            self._entangled[name] = met or len(set(params)) < len(params)
        return self._entangled[name]

    def add_products(self, total: Tensor, axis: Axis, b: Tensor, a: Tensor, sign: int = 1) -> None:
        """Add the inner product of every unit of B (rows) with every unit of A along one axis, blocks included."""
        rows, columns = (axis.units(tensor.to(self.dtype)) for tensor in (b, a))
        share = sign * self._shares.get(axis.param, 1.0)
        if rows.shape[0] * rows.shape[1] * columns.shape[0] < _LARGE:
            total.addmm_(rows, columns.T, alpha=share)
        else:
            total.add_(inner_products(rows, columns), alpha=share)


def inner(a: StateDict, b: StateDict, shares: Mapping[str, float] | None = None) -> float:
    """Return the inner product of two sets of tensors in float64, a cache-sized piece at a time.

    With ``shares``, a tensor's part is multiplied by its share.
    """
    total = 0.0
    for name, tensor in b.items():
        pairs = zip(a[name].reshape(-1).split(1 << 15), tensor.reshape(-1).split(1 << 15), strict=True)
        part = sum(float(torch.dot(one.double(), two.double())) for one, two in pairs)
        total += (shares or {}).get(name, 1.0) * part
    return total


class PairWorths:
    """B, and for each group the sum over its axes of what each pairing is worth; they move together.

    Groups may be *open*: nothing is known of their order yet, so that they count as the mean of all their permutations.
    A pairing of other units is then worth what the known part of the tensors says, without noise from the rest.
    """

    def __init__(self, problem: Problem, b: Mapping[str, Tensor], opened: Collection[str] = ()) -> None:
        self._problem = problem
        self.b = dict(b)
        self.open = set(opened)
        self._own: set[str] = set()
        self._sums: dict[str, Tensor] = {}

    def of(self, name: str) -> NDArray[np.floating]:
        """Return what each pairing of a group's units is worth, shape (units of B, units of A), blocks included."""
        if name not in self._sums:
            units = self._problem.groups[name].units
            self._sums[name] = torch.zeros(units, units, dtype=self._problem.dtype, device=self._problem.device)
            for axis in self._problem.axes[name]:
                self._add_whole(name, axis, self.b[axis.param], self.open)
        return self._sums[name].cpu().numpy()

    def known(self, name: str) -> float:
        """Return the share of a group's weights that no other open group moves."""
        known = total = 0.0
        for axis in self._problem.axes[name]:
            tensor = self._problem.a[axis.param]
            total += tensor.numel()
            unknown = (_covered(other, tensor) for other in self._blurred(name, axis, self.open))
            known += tensor.numel() * math.prod(1 - share for share in unknown)
        return known / max(total, 1)

    def move(self, step: Mapping[str, NDArray[np.int64]], *, close: bool = False) -> None:
        """Permute B further, and bring all sums up to date; with ``close``, the groups moved are open no more."""
        params = sorted({axis.param for moved in step for axis in self._problem.axes[moved]})
        self._turn(step)
        before = set(self.open)
        self.open -= set(step) if close else set()
        for param in params:
            old, (dim, index) = self.b[param], self._index(param, step)
            changed = np.flatnonzero(index != np.arange(len(index)))
            plain = len(index) > 0 and not close
            if plain and not len(changed):
                continue
            near = [
                (name, axis) for name, axis in self._problem.lying[param] if name in self._sums and name not in step
            ]
            if not plain:
                self.b[param] = self._problem.spec.permute(param, old, step)
                self._own.add(param)
                for name, axis in near:
                    self._add_whole(name, axis, self.b[param], self.open)
                    self._add_whole(name, axis, old, before, sign=-1)
            else:
                where, source = (torch.from_numpy(one) for one in (changed, index[changed]))
                self._add_part(param, near, dim, where.to(old.device), source.to(old.device))

    def _add_whole(self, name: str, axis: Axis, b: Tensor, opened: Collection[str], sign: int = 1) -> None:
        """Add one axis of a tensor to a sum, or take it away; other open groups are averaged out."""
        a, b = (tensor.to(self._problem.dtype) for tensor in (self._problem.a[axis.param], b))
        a, b = blurred(self._blurred(name, axis, opened), axis, a, b)
        self._problem.add_products(self._sums[name], axis, b, a, sign)

    def _blurred(self, name: str, axis: Axis, opened: Collection[str]) -> list[Axis]:
        """Return the axes of open groups that the worth along one axis sums over."""
        relatives = set(self._problem.relatives(name)) - {name}
        lying = self._problem.lying[axis.param] if opened else ()
        return [one for other, one in lying if one.dim != axis.dim and other in opened and other not in relatives]

    def _add_part(self, param: str, near: list, dim: int, where: Tensor, source: Tensor) -> None:
        """Move some positions of one dimension, and add what that makes to the sums over it."""
        old = self.b[param]
        new_part, old_part = old.index_select(dim, source), old.index_select(dim, where)
        change, a = None, None
        for name, axis in near:
            if axis.dim == dim:
                continue
            if axis.given is not None and axis.given[0] == dim:
                self._sums.pop(name, None)
            elif name in self._sums:
                change = new_part.to(self._problem.dtype) - old_part if change is None else change
                a = self._problem.a[param].index_select(dim, where) if a is None else a
                self._problem.add_products(self._sums[name], axis, change, a)
        if param not in self._own:
            self.b[param] = old.clone()
            self._own.add(param)
        self.b[param].index_copy_(dim, where, new_part)

    def _index(self, param: str, step: Mapping[str, NDArray[np.int64]]) -> tuple[int, NDArray[np.int64]]:
        """Return the one dimension that a step moves in a tensor and its index there; empty where it is less plain."""
        moved = [(name, axis) for name, axis in self._problem.lying[param] if name in step]
        dim = moved[0][1].dim
        if any(axis.given is not None or axis.dim != dim for _, axis in moved):
            return dim, np.empty(0, dtype=np.int64)
        index = np.arange(self.b[param].shape[dim])
        for name, axis in moved:
            index = index[axis.index(len(index), step[name])]
        return dim, index

    def _turn(self, step: Mapping[str, NDArray[np.int64]]) -> None:
        """Permute the moved groups' own sums, or forget them; forget those of groups that overlap them."""
        problem = self._problem
        places = problem.spec.identity() | dict(step)
        for name, perm in step.items():
            alone = len(step) == 1 or (name in problem.outer and not problem.entangled(problem.outer[name]))
            if not alone or problem.entangled(name):
                self._sums.pop(name, None)
            elif name in self._sums:
                group = problem.groups[name]
                rows = group.old_blocks(places)[:, None] * group.size + perm.reshape(-1, group.size)
                self._sums[name] = self._sums[name].index_select(
                    0, torch.from_numpy(rows.ravel()).to(self._problem.device)
                )
        for name in set(self._sums) - set(step):
            if any(_overlap(axis, other) for moved in step for axis, other in self._beside(name, moved)):
                self._sums.pop(name)

    def _beside(self, name: str, moved: str) -> list[tuple[Axis, Axis]]:
        """Return the pairs of axes of two groups in the same dimension of the same tensor."""
        theirs: dict[tuple[str, int], list[Axis]] = {}
        for axis in self._problem.axes[moved]:
            theirs.setdefault((axis.param, axis.dim), []).append(axis)
        return [(axis, o) for axis in self._problem.axes[name] for o in theirs.get((axis.param, axis.dim), ())]


def _covered(axis: Axis, tensor: Tensor) -> float:
    return 1.0 if axis.positions is None else axis.positions.size / tensor.shape[axis.dim]


def _meet(one: Axis, other: Axis) -> bool:
    """Say whether the order of one counts for the other: in two dimensions of a tensor, or at shared positions."""
    return one.param == other.param and (one.dim != other.dim or _overlap(one, other))


def _overlap(one: Axis, other: Axis) -> bool:
    if one.positions is None or other.positions is None:
        return True
    return not set(one.positions.ravel().tolist()).isdisjoint(other.positions.ravel().tolist())
