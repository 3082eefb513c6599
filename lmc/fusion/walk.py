"""The walk through the layers that barycenter and transport methods share: each group is settled given the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmc.alignment.coupling import Coupling, spread
from lmc.alignment.families import Family
from lmc.fusion.activations import Activations
from lmc.fusion.free_support import Barycenter, Plans, block_costs
from lmc.fusion.layers import Layers, Place
from lmc.fusion.nested import nested_barycenter
from lmc.fusion.problem import Problem
from lmc.symmetry import PermutationGroup

Alone: TypeAlias = "Callable[[Place, PermutationGroup, Plans | None], Barycenter]"
"""Settles a group that is matched alone, from its rows and the plans of the sweep before, if there was one."""


class Walk:
    """The groups settled so far.

    Parameters
    ----------
    problem : Problem
        Networks and target.
    layers : Layers
        Their layers as rows.
    alone : callable
        Finds the plans of one group.
    seen : Activations, optional
        What units do on examples, where they are compared by that.
    start : int
        Number of the network, from 0, whose order groups inside groups start in.
    seed : int
        Of the restarts of those.
    """

    def __init__(
        self,
        problem: Problem,
        layers: Layers,
        alone: Alone,
        seen: Activations | None = None,
        start: int = 0,
        seed: int = 0,
    ) -> None:
        self.problem, self.layers, self.seen = problem, layers, seen
        self._alone, self._start, self._seed = alone, start, seed
        self.families = layers.families if seen is None else seen.families
        self.couplings: list[dict[str, Coupling]] = [{} for _ in problem.states]
        self.traces: dict[str, tuple[float, ...]] = {}
        self.trace: list[float] = []
        self.notes: dict[str, None] = {}
        self._rounding: dict[str, float] = {}
        self._moves: dict[str, int] = {}
        self._given: dict[str, object] = {}

    def run(self, sweeps: int = 1, *, both: bool = False) -> None:
        """Settle every group, again while more of what they are compared by is settled, and couplings change.

        Parameters
        ----------
        sweeps : int
            Most times.
        both : bool
            Whether what reads units counts too, from the second sweep on.
        """
        for sweep in range(sweeps):
            known = {family.name: set(self.layers.incoming(family)) for family in self.families} if sweep else {}
            before = [dict(found) for found in self.couplings]
            for family in self.families:
                known.setdefault(family.name, set(self.layers.incoming(family)))
                if self._given.get(family.name) != (given := self._settled(family)):
                    self.settle(family)
                    self._given[family.name] = given
            self.trace.append(self.objective)
            self.layers.both = both
            complete = all(set(self.layers.incoming(family)) == known[family.name] for family in self.families)
            if self.seen is not None or (complete and (not sweep or self._same(before))):
                break

    def _settled(self, family: Family) -> object:
        """Return what a family's couplings follow from: what it is compared by, and how often that was moved."""
        compared = self.layers.incoming(family)
        others = {name for param in compared for name, _ in self.layers.target.axes_of[param]} - family.names
        return set(compared), {name: self._moves.get(name, 0) for name in others}

    def settle(self, family: Family) -> None:
        """Find the couplings of a family, given those of other groups."""
        places = self.layers.places(family) if self.seen is None else self.seen.places(family)
        if not places:
            self.notes[f"{family.name}: nothing to compare it by, kept in order"] = None
            for network in range(len(self.couplings)):
                self._take(network, {group.name: self._in_order(group.name, network) for group in family.groups})
        elif family.alone:
            self._settle_alone(family, places[0])
        else:
            matched = nested_barycenter(family, places, self.problem.mix, self._start, seed=self._seed)
            self.traces[family.name] = matched.trace
            for network in range(len(self.couplings)):
                self._take(network, matched.plans(family, network))

    def _settle_alone(self, family: Family, place: Place) -> None:
        held = tuple(found[family.name].plan for found in self.couplings if family.name in found)
        found = self._alone(place, self.layers.target[family.name], held or None)
        self.traces[family.name] = found.trace
        self.notes.update({f"{family.name}: {note}": None for note in found.notes})
        for network, plan in enumerate(found.plans):
            self._take(network, {family.name: plan})
        if self.problem.one_width:
            self._rounding[family.name] = self._lost(family, place, found)

    def _lost(self, family: Family, place: Place, found: Barycenter) -> float:
        """Return how much more the rounded plans cost than the plans do."""
        group, lost = self.layers.target[family.name], 0.0
        for number, (rows, share) in enumerate(zip(place.rows, self.problem.mix, strict=True)):
            plan = found.plans[number]
            order = self.couplings[number][family.name].rounded(group).reshape(group.blocks, -1)
            for block, cost in enumerate(block_costs(rows, found.rows, group.blocks)):
                hard = cost[np.arange(group.size), order[block]].sum()
                lost += share * float(hard - group.size * (plan[block] * cost).sum())
        return lost

    def _in_order(self, name: str, network: int) -> NDArray[np.float64]:
        group, size = self.layers.target[name], self.problem.specs[network][name].size
        return np.tile(spread(group.size, size), (group.blocks, 1, 1))

    def _take(self, network: int, plans: Mapping[str, NDArray[np.float64]]) -> None:
        found = {name: Coupling(plan) for name, plan in plans.items()}
        before = self.couplings[network]
        for name, one in found.items():
            if name not in before or not np.array_equal(before[name].plan, one.plan):
                self._moves[name] = self._moves.get(name, 0) + 1
        self.couplings[network].update(found)
        self.layers.settle(network, {name: one.makes() for name, one in found.items()})

    def _same(self, before: list[dict[str, Coupling]]) -> bool:
        pairs = zip(before, self.couplings, strict=True)
        return all(np.allclose(one[name].plan, now[name].plan, atol=1e-12) for one, now in pairs for name in now)

    @property
    def objective(self) -> float:
        """Sum over groups of what each ended at."""
        return sum(trace[-1] for trace in self.traces.values())

    @property
    def rounding_loss(self) -> float:
        """Sum over groups of what rounding their plans to permutations costs."""
        return sum(self._rounding.values())

    @property
    def message(self) -> str:
        """How it ended."""
        words = [f"{len(self.traces)} groups settled"]
        if self.problem.one_width:
            hard = [coupling.hardness for found in self.couplings for coupling in found.values()]
            words.insert(0, f"{100 * float(np.mean(hard)):.0f}% of the plans on permutations" if hard else "")
        if len(self.trace) > 1:
            words.append(f"{len(self.trace)} sweeps")
        return "; ".join(filter(None, [*words, *self.notes]))
