"""The maps of all strands: each found by transport from a network's units to an anchor's, given the maps before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import StateDict
from lmc.alignment.assignment import assign
from lmc.alignment.coupling import Coupling, spread
from lmc.alignment.families import Family, Worth, match
from lmc.alignment.transport import carried
from lmc.alignment.unit_costs import Metric, Products, incoming
from lmc.fusion.couple import Couple
from lmc.fusion.strand_activations import Seen
from lmc.fusion.strands import Slot, Strands

Residual = Literal["none", "skip", "mean", "scalar", "features"]


@dataclass(frozen=True, eq=False)
class Settings:
    """How maps are found.

    Parameters
    ----------
    cost : {"euclidean", "sqeuclidean", "cosine"}
        How units are compared.
    solver : {"emd", "sinkhorn"}
        Exact, or entropic.
    reg : float
        Weight of the entropy, as a share of the standard deviation of a layer's costs.
    residual : {"none", "skip", "mean", "scalar", "features"}
        Which map a sum has.
    seed : int
        Of the restarts of heads.
    """

    cost: Metric
    solver: Literal["emd", "sinkhorn"]
    reg: float
    residual: Residual
    seed: int


class StrandMaps:
    """The maps of one network, found as they are asked for.

    Parameters
    ----------
    strands : Strands
        What moves.
    number : int
        Number of the network.
    anchor : StateDict
        Whose places its units go to, of the target's widths.
    state : StateDict
        The network.
    settings : Settings
        How.
    seen : Seen, optional
        What units do on examples; for costs where ``by_activations``, else for weights of sums alone.
    by_activations : bool
        Whether units are compared by that.
    """

    def __init__(
        self,
        strands: Strands,
        number: int,
        anchor: StateDict,
        state: StateDict,
        settings: Settings,
        seen: Seen | None = None,
        *,
        by_activations: bool = False,
    ) -> None:
        self.strands, self.number, self.settings, self.seen = strands, number, settings, seen
        self._anchor, self._state, self._by_activations = anchor, state, by_activations
        self._plans: dict[int, NDArray[np.float64] | None] = {}
        self._busy: set[int] = set()
        self.costs: dict[str, float] = {}
        self.rounding: dict[str, float] = {}
        self.notes: dict[str, None] = {}
        for strand in range(len(strands.strands)):
            self.settle(strand)
        self.couplings = {strand: Coupling(self.plan(strand)) for strand in range(len(strands.strands))}

    def plan(self, strand: int) -> NDArray[np.float64]:
        """Return the plan of a settled strand, units in order where there was nothing to find it by."""
        plan, one = self._plans[strand], self.strands.strands[strand]
        if plan is not None:
            return plan
        return np.tile(spread(one.sizes[0], one.sizes[1 + self.number]), (one.blocks, 1, 1))

    def settle(self, strand: int) -> None:
        """Find the map of a strand, and of all that it depends on first."""
        if strand in self._plans or strand in self._busy:
            return
        self._busy.add(strand)
        one = self.strands.strands[strand]
        family = self.strands.families[one.family]
        if one.joined is not None:
            self._plans[strand] = self._sum(strand, *one.joined)
        elif family.alone or one.opened:
            self._plans[strand] = self._alone(strand)
        else:
            self._busy |= set(self.strands.of_family(one.family))
            self._plans.update(self._family(one.family, family))
        if self._plans[strand] is None:
            self.notes[f"{one.name}: nothing to compare it by, kept in order"] = None

    def _sum(self, strand: int, skip: int, block: int) -> NDArray[np.float64] | None:
        """Return the map of a sum of two strands."""
        for one in (skip, block):
            self.settle(one)
        first, second = (self._plans.get(one) for one in (skip, block))
        if first is None or second is None:
            return first if second is None else second
        policy = self.settings.residual
        if policy in ("none", "skip"):
            return second if policy == "none" else first
        share = np.full((first.shape[0] * first.shape[1], 1), 0.5)
        if policy != "mean":
            assert self.seen is not None
            share = self.seen.share(strand, whole=policy == "scalar")
        share = share.reshape(*first.shape[:2], 1)
        return share * first + (1 - share) * second

    def _alone(self, strand: int) -> NDArray[np.float64] | None:
        """Transport the units of a strand that is matched alone, block by block."""
        one = self.strands.strands[strand]
        products = self._products(strand)
        if products is None:
            return None
        whole = products.cost(self.settings.cost).numpy()
        blocks, places, units = one.blocks, one.sizes[0], one.sizes[1 + self.number]
        costs = whole.reshape(blocks, places, blocks, units)[np.arange(blocks), :, np.arange(blocks)]
        return self._transported(one.name, costs)

    def _transported(self, name: str, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Solve one transport problem for each block; keep what it costs, and what its permutation would."""
        solver = self.settings.solver
        couple = Couple() if solver == "emd" else Couple(solver, self.settings.reg * (float(costs.std()) or 1.0))
        solved = [couple.plan(cost) for cost in costs]
        plans = np.stack([plan for plan, _ in solved])
        self.costs[name] = float((plans * costs).sum() / len(costs))
        if plans.shape[1] == plans.shape[2]:
            order = np.stack([assign(plan) for plan in plans])
            hard = np.take_along_axis(costs, order[..., None], axis=2).mean()
            self.rounding[name] = float(hard) - self.costs[name]
        self.notes.update({f"{name}: {note}": None for _, note in solved if note})
        return plans

    def _products(self, strand: int) -> Products | None:
        """Return the inner products of a strand's units in the anchor with those in the network."""
        if self._by_activations:
            assert self.seen is not None
            return self.seen.products(strand, self.number)
        found = []
        for name, slot in self.strands.made(strand):
            moved = self._carried_inputs(name, {slot.target.dim})
            if moved is not None:
                found.append(Products.of(slot.target.units(_real(self._anchor[name])), self._units(slot, moved)))
        return Products.joined(found) if found else None

    def _units(self, slot: Slot, tensor: Tensor) -> Tensor:
        return slot.own[self.number].units(tensor)

    def _carried_inputs(self, name: str, dims: set[int]) -> Tensor | None:
        """Return a tensor of the network with all dimensions but some carried, None where a map is not known yet."""
        slots = [slot for slot in self.strands.slots[name] if slot.target.dim not in dims]
        for slot in slots:
            self.settle(slot.strand)
        if any(slot.strand not in self._plans for slot in slots):
            return None
        couplings = {slot.strand: Coupling(self.plan(slot.strand)) for slot in slots}
        return carry(self.strands, name, _real(self._state[name]), self.number, couplings, slots)

    def _family(self, number: int, family: Family) -> dict[int, NDArray[np.float64]]:
        """Match heads one to one, then what lies in them: by permutations, or softly within matched heads."""
        worths = self._worths(family)
        permutation, worth = match(family, worths, self.settings.seed)
        entries = sum(len(one.pairs) for one in worths) or 1
        self.costs[family.name] = -worth / entries
        found = {}
        outer = {name for group in family.groups for name, _ in group.over}
        for strand in self.strands.of_family(number):
            one = self.strands.strands[strand]
            group = next(group for group in family.groups if group.name == one.group)
            perm = np.asarray(permutation[group.name]).reshape(group.blocks, group.size)
            found[strand] = np.eye(group.size)[perm] / group.size
            soft = self.settings.solver == "sinkhorn" or one.copy is not None
            if soft and group.over and group.name not in outer:
                costs = self._inside(strand, group.old_blocks(permutation))
                found[strand] = self._transported(one.name, costs) if costs is not None else found[strand]
        return found

    def _worths(self, family: Family) -> list[Worth]:
        """Return what pairing units of a family is worth, at every tensor or layer."""
        if self._by_activations:
            assert self.seen is not None
            return self.seen.worths(family, self.number, self.settings.cost)
        found = []
        target = self.strands.target
        names = {group.name for group in target.groups} - family.names
        for name, axes in incoming(family, target, self.strands.roles, names).items():
            moved = self._carried_inputs(name, {axis.dim for axis in axes.values()})
            if moved is None:
                continue
            products = Products.of(family.rows(axes, _real(self._anchor[name])), family.rows(axes, moved))
            found.append(Worth(axes, target.shapes[name], -products.cost(self.settings.cost)))
        return found

    def _inside(self, strand: int, old: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the costs of a strand's units within matched heads, shape (blocks, size, size)."""
        products = self._products(strand)
        if products is None:
            return None
        one = self.strands.strands[strand]
        blocks, size = one.blocks, one.sizes[0]
        whole = products.cost(self.settings.cost).numpy().reshape(blocks, size, blocks, size)
        return whole[np.arange(blocks), :, old]


def carry(
    strands: Strands,
    name: str,
    tensor: Tensor,
    number: int,
    couplings: Mapping[int, Coupling],
    slots: Sequence[Slot] | None = None,
) -> Tensor:
    """Return a tensor of a network with the strands in it moved along their maps, dimension by dimension.

    Parameters
    ----------
    strands : Strands
        What moves.
    name : str
        The tensor, under the name that groups know it by.
    tensor : Tensor
        Floating; left as it is.
    number : int
        Number of the network.
    couplings : mapping of int to Coupling
        Of every strand that lies in it: units are made by ``makes``, read by ``reads``.
    slots : sequence of Slot, optional
        Where it moves; everywhere by default.
    """
    slots = strands.slots.get(name, []) if slots is None else slots
    for dim in sorted({slot.target.dim for slot in slots}):
        parts = [
            (slot.own[number], slot.target, _matrices(couplings[slot.strand], slot.makes))
            for slot in slots
            if slot.target.dim == dim
        ]
        tensor = carried(tensor.double(), dim, strands.target.shapes[name][dim], parts)
    return tensor


def _matrices(coupling: Coupling, makes: bool) -> NDArray[np.float64]:
    return coupling.makes() if makes else coupling.reads()


def _real(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64).cpu()
