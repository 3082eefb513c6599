"""Strands: what moves by one map of its own when networks are fused layer by layer, and every tensor's place on them.

A residual stream is cut at its additions, queries and keys may be taken apart, heads may be opened: then one group of
the spec moves along several maps, which no permutation could.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lmc._errors import UsageError
from lmc.alignment.families import Family, families
from lmc.symmetry import Axis, PermutationGroup, PermutationSpec
from lmc.symmetry.flow import Flow, flow
from lmc.symmetry.sites import Sighting

Heads = Literal["matched", "across"]
Queries = Literal["joint", "separate"]


@dataclass(frozen=True, eq=False)
class Strand:
    """Units that one map moves.

    Parameters
    ----------
    name : str
        Of its group, and which part of it.
    group : str
        The group.
    blocks : int
        How many matrices the map has.
    sizes : tuple of int
        Units of a block, the target's first, then every network's.
    seen : tuple of str
        Names of the nodes that show the units.
    joined : (int, int), optional
        Numbers of the strands that this one is the sum of: the one that was there first, and the other.
    terms : (str, str), optional
        Names of the nodes that are added.
    family : int
        Number of the family that it is matched with.
    copy : int, optional
        The copy of the group (queries, keys) that it is, where they are apart.
    opened : bool
        Whether the blocks are taken as one.
    """

    name: str
    group: str
    blocks: int
    sizes: tuple[int, ...]
    seen: tuple[str, ...]
    joined: tuple[int, int] | None
    terms: tuple[str, str] | None
    family: int
    copy: int | None = None
    opened: bool = False

    def axis(self, axis: Axis) -> Axis:
        """Return where the strand lies, given where its group does."""
        if axis.positions is None or (self.copy is None and not self.opened):
            return axis
        positions = axis.positions if self.copy is None else axis.positions[:, self.copy : self.copy + 1]
        if self.opened:
            positions = positions.transpose(1, 0, 2).reshape(1, positions.shape[1], -1)
        return replace(axis, positions=positions)


@dataclass(frozen=True, eq=False)
class Slot:
    """Where a strand lies in one dimension of a tensor.

    Parameters
    ----------
    strand : int
        Its number.
    target : Axis
        In the fused network.
    own : tuple of Axis
        In every network.
    makes : bool
        Whether the tensor makes the units there, or reads them.
    """

    strand: int
    target: Axis
    own: tuple[Axis, ...]
    makes: bool


class Strands:
    """All strands of networks that correspond.

    Parameters
    ----------
    specs : sequence of PermutationSpec
        The networks'.
    target : PermutationSpec
        The fused network's, with its graph.
    heads : {"matched", "across"}
        Whether heads stay whole.
    queries : {"joint", "separate"}
        Whether queries and keys share a map.

    Raises
    ------
    UsageError
        If heads are to be opened, and not all that lies in them is free to move.
    """

    def __init__(
        self, specs: Sequence[PermutationSpec], target: PermutationSpec, heads: Heads, queries: Queries
    ) -> None:
        self.specs, self.target = tuple(specs), target
        self.sighting = Sighting(target)
        self.families = families(target)
        alone = [family.name for family in self.families if family.alone]
        self.flow: Flow = flow(self.sighting, alone)
        self.roles = self.sighting.roles()
        self.strands: list[Strand] = []
        self.slots: dict[str, list[Slot]] = {}
        self._numbers: dict[int, int] = {}
        for number, family in enumerate(self.families):
            if family.alone or heads == "matched":
                self._take(number, family.groups, queries, opened=False)
            else:
                self._take(number, _opened(family, target), queries, opened=True)
        self.strands = [self._numbered(one) for one in self.strands]

    def of_family(self, family: int) -> list[int]:
        """Return the numbers of the strands of a family."""
        return [number for number, one in enumerate(self.strands) if one.family == family]

    def made(self, strand: int) -> list[tuple[str, Slot]]:
        """Return the tensors that make a strand's units, each with its place there, no buffers."""
        return [
            (name, slot)
            for name, slots in self.slots.items()
            for slot in slots
            if slot.strand == strand and slot.makes and name not in self.target.buffers
        ]

    def _take(self, family: int, groups: Sequence[PermutationGroup], queries: Queries, *, opened: bool) -> None:
        for group in groups:
            parts = self._calls(group) if queries == "separate" and group.over else []
            if len(parts) > 1:
                for node, copy in parts:
                    self._separate(family, group, node, copy, opened)
            elif self.families[family].alone:
                self._cut(family, group)
            else:
                nodes = tuple(dict.fromkeys(node for node, _ in self._made_by(group)))
                strand = self._strand(group.name, group, nodes, family, opened)
                self._add(strand, [(axis.param, axis.dim) for axis in group.axes])

    def _cut(self, family: int, group: PermutationGroup) -> None:
        numbers = self.flow.of(group.name)
        for number in numbers:
            stretch = self.flow.stretches[number]
            self._numbers[number] = len(self.strands)
            name = f"{group.name} ({stretch.seen[0]})" if len(numbers) > 1 else group.name
            strand = self._strand(name, group, stretch.seen, family, opened=False)
            places = [place[:2] for place, at in self.flow.where.items() if at == number]
            self._add(replace(strand, joined=stretch.joined, terms=stretch.terms), places)

    def _separate(self, family: int, group: PermutationGroup, node: str, copy: int, opened: bool) -> None:
        part = f"{group.name} ({node}{f', {copy + 1}' if copy else ''})"
        strand = replace(self._strand(part, group, (node,), family, opened), copy=copy)
        held = self.flow.calls[node]
        self._add(strand, [(axis.param, axis.dim) for axis in group.axes if axis.param in held])

    def _strand(self, name: str, group: PermutationGroup, seen: tuple[str, ...], family: int, opened: bool) -> Strand:
        units = [one[group.name].units if opened else one[group.name].size for one in (self.target, *self.specs)]
        return Strand(
            name, group.name, 1 if opened else group.blocks, tuple(units), seen, None, None, family, opened=opened
        )

    def _add(self, strand: Strand, places: Sequence[tuple[str, int]]) -> None:
        number = len(self.strands)
        self.strands.append(strand)
        for param, dim in places:
            found = [_axis(spec, param, dim, strand.group) for spec in (self.target, *self.specs)]
            target, *own = (strand.axis(axis) for axis in found)
            makes = (param, dim, strand.group) in self.roles.makes
            self.slots.setdefault(param, []).append(Slot(number, target, tuple(own), makes))

    def _made_by(self, group: PermutationGroup) -> list[tuple[str, Axis]]:
        made = {axis.param: axis for axis in self.roles.made(group) if len(self.target.shapes[axis.param]) > 1}
        calls = self.flow.calls.items()
        return [(node, made[name]) for node, names in calls for name in names if name in made]

    def _calls(self, group: PermutationGroup) -> list[tuple[str, int]]:
        """Return the layers, and parts of their output, that make units which no other tensor reads: queries, keys."""
        if any((axis.param, axis.dim, group.name) not in self.roles.makes for axis in group.axes):
            return []
        found = [(node, axis.positions) for node, axis in self._made_by(group)]
        return [(node, copy) for node, at in found if at is not None for copy in range(at.shape[1])]

    def _numbered(self, strand: Strand) -> Strand:
        """Return a strand that names its terms by the numbers of strands in place of stretches."""
        if strand.joined is None:
            return strand
        one, other = (self._numbers[number] for number in strand.joined)
        return replace(strand, joined=(one, other))


def _axis(spec: PermutationSpec, param: str, dim: int, group: str) -> Axis:
    return next(axis for name, axis in spec.axes_of[param] if name == group and axis.dim == dim)


def _opened(family: Family, target: PermutationSpec) -> list[PermutationGroup]:
    """Return the groups that hold nothing, once it is proved that together they are all that lies in a family."""
    outer = {name for group in family.groups for name, _ in group.over}
    inner = [group for group in family.groups if group.name not in outer]
    covered: dict[tuple[str, int], set[int]] = {}
    for axis in (axis for group in inner for axis in group.axes):
        held = covered.setdefault((axis.param, axis.dim), set())
        positions = [] if axis.positions is None or axis.given is not None else axis.positions.ravel().tolist()
        if held & set(positions):
            raise UsageError(_closed(family))
        held.update(positions)
    for axis in (axis for group in family.groups for axis in group.axes):
        positions = np.arange(target.shapes[axis.param][axis.dim]) if axis.positions is None else axis.positions
        if not set(positions.ravel().tolist()) <= covered.get((axis.param, axis.dim), set()):
            raise UsageError(_closed(family))
    return inner


def _closed(family: Family) -> str:
    return (
        f"transformer: heads=across mixes what lies in the heads of {family.name!r}, where not all of it is free to "
        "move (rotary positions, heads that share keys, heads as a dimension of their own): use heads=matched."
    )
