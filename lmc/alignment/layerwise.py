"""The forward walk that transport methods share: each group is settled given how the ones before it moved."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lmc._types import StateDict
from lmc.alignment.activation_matching import Activations
from lmc.alignment.capture import Moments, watch
from lmc.alignment.coupling import Coupling, apply_soft, spread
from lmc.alignment.families import Family, families, match
from lmc.alignment.result import AlignmentResult
from lmc.alignment.transport import Maps
from lmc.alignment.unit_costs import Layers, Metric, Products, worths
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec
from lmc.symmetry.sites import Place, Roles, Sighting


@dataclass(frozen=True, eq=False)
class Coupled:
    """What was found for one group.

    Parameters
    ----------
    coupling : Coupling
        Its plan.
    soft, hard : float
        Mean cost of a unit under the plan, and under the permutation it is rounded to.
    notes : tuple of str
        What has to be said of it.
    starts : tuple of float
        Cost reached from every start.
    """

    coupling: Coupling
    soft: float
    hard: float
    notes: tuple[str, ...] = ()
    starts: tuple[float, ...] = ()


Couple: TypeAlias = "Callable[[Walk, Family, Products | None], Coupled | None]"
"""Finds the plan of a group from the products of its units, None where there is nothing to compare them by."""


@dataclass(eq=False)
class Walk:
    """The layers settled so far.

    Parameters
    ----------
    a, b : mapping of str to Tensor
        The two networks; never modified.
    spec : PermutationSpec
        All groups.
    couple : callable
        Finds one group's plan.
    cost : str
        What groups that lie in one another are compared by.
    soft : bool
        Whether later layers see B moved along the plans, not along the permutations.
    seed : int
        Of restarts.
    spec_b : PermutationSpec, optional
        B's groups where its widths are others than A's: it is moved along the plans then, in any case.
    """

    a: StateDict
    b: StateDict
    spec: PermutationSpec
    couple: Couple
    cost: Metric = "sqeuclidean"
    soft: bool = False
    seed: int = 0
    spec_b: PermutationSpec | None = None
    permutation: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    couplings: dict[str, Coupling] = field(default_factory=dict)
    costs: list[tuple[float, float, int]] = field(default_factory=list)
    starts: list[tuple[float, ...]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"cost": 0.0, "assignment": 0.0, "apply": 0.0})

    def __post_init__(self) -> None:
        self.roles: Roles = Sighting(self.spec).roles()
        self.layers = Layers(self.a, self.b, self.spec, self.roles, self.spec_b)
        self.activations: Activations | None = None
        self.families = families(self.spec)

    def look(
        self,
        data: AbstractData | None,
        module: nn.Module | None,
        place: Place,
        examples: int | None,
        *,
        inner: bool = False,
        module_b: nn.Module | None = None,
    ) -> None:
        """Compare units by what they do on examples; B in its own network, where its widths are others."""
        assert data is not None
        with Timed(self.seconds, "cost"):
            seen = Activations(self.spec, inner=inner)
            other = None if self.spec_b is None else (self.spec_b, module_b)
            watch(self.a, self.b, self.spec, data, module, place=place, examples=examples, seen=seen, other=other)
            self.activations, self.families = seen, seen.families

    def run(self) -> Walk:
        """Settle one group after the other."""
        for family in self.families:
            with Timed(self.seconds, "cost"):
                places = self._places(family)
            with Timed(self.seconds, "assignment"):
                self._settle(family, places)
            with Timed(self.seconds, "apply"):
                self.layers.settle(family, self._moved(), self._maps())
        return self

    def _settle(self, family: Family, places: list) -> None:
        if family.alone:
            found = self.couple(self, family, places[0][2] if places else None)
            if found is not None:
                self._take(family, found)
                return
        elif places:
            permutation, worth = match(family, worths(places, self.cost), self.seed)
            self.permutation |= permutation
            units = sum(group.units for group in family.groups)
            self.costs.append((-worth / units, -worth / units, units))
            return
        self.notes[f"{family.name}: nothing to compare it by, left as it is"] = None
        self._leave(family)

    def _leave(self, family: Family) -> None:
        """Keep the order of a family's units, spread over as many places as there are."""
        for group in family.groups:
            units = self.layers.spec_b[group.name].size
            if units == group.size:
                self.permutation[group.name] = group.identity()
            else:
                self.couplings[group.name] = Coupling(spread(group.size, units)[None])

    def _take(self, family: Family, found: Coupled) -> None:
        group = family.groups[0]
        if found.coupling.square:
            self.permutation[group.name] = found.coupling.rounded(group)
        self.couplings[group.name] = found.coupling
        # Between other widths B is carried along every plan, those of groups of one width included.
        hard = found.hard if self.spec_b is None else found.soft
        self.costs.append((found.soft, hard, group.units))
        self.notes |= dict.fromkeys(found.notes)
        self.starts += [found.starts] if found.starts else []

    def _moved(self) -> StateDict:
        if self.spec_b is not None:
            hard = {name: perm for name, perm in self.permutation.items() if name not in self.couplings}
            return self.spec_b.apply(self.b, hard)
        if self.soft and self.couplings:
            return apply_soft(self.spec, self.b, self.couplings, self.permutation, self.roles)
        return self.spec.apply(self.b, self.permutation)

    def _maps(self) -> Maps:
        """Return what is to be carried when it is looked at: between other widths, all plans."""
        between = {} if self.spec_b is None else self.couplings
        return {name: (coupling.makes(), coupling.reads()) for name, coupling in between.items()}

    def _places(self, family: Family) -> list:
        if self.activations is None:
            return self.layers.products(family)
        seen = [(axes, shape, Products.seen(moments)) for axes, shape, moments in self.seen(family)]
        return [(seen[0][0], seen[0][1], Products.joined([p for _, _, p in seen]))] if family.alone and seen else seen

    def seen(self, family: Family) -> list[tuple[dict, tuple[int, ...], Moments]]:
        """Return what was seen of a family's units, nothing where they are compared by weights."""
        return [] if self.activations is None else self.activations.places(family)

    def result(self, method: str, objective_name: str, citation: str) -> AlignmentResult:
        """Return what was found, and how it ended."""
        units = max(1, sum(count for _, _, count in self.costs))
        soft, hard = (sum(cost[end] * cost[2] for cost in self.costs) / units for end in (0, 1))
        square = [coupling for coupling in self.couplings.values() if coupling.square]
        shares = [coupling.hardness for coupling in square]
        words = [f"{100 * float(np.mean(shares)):.0f}% of the plan on its permutation"] if shares else []
        unequal = len(self.couplings) - len(square)
        words += [f"{unequal} groups of other widths: plans, no permutation"] if unequal else []
        starts = tuple(-sum(cost) / len(cost) for cost in zip(*self.starts, strict=True)) if self.starts else (-hard,)
        return AlignmentResult(
            method,
            self.spec,
            self.permutation,
            objective=-hard,
            objective_name=objective_name,
            trace=tuple(-cost[1] for cost in self.costs),
            converged=not self.notes,
            message="; ".join([*(words or ["one to one"]), *self.notes]),
            restarts=starts,
            seconds=self.seconds,
            seed=self.seed,
            citation=citation,
            couplings=self.couplings if self.soft or self.spec_b is not None else {},
            rounding_loss=hard - soft,
            roles=self.roles,
            source=self.spec_b,
        )


class Timed:
    """Adds the time that a block takes to a phase."""

    def __init__(self, seconds: dict[str, float], phase: str) -> None:
        self._seconds, self._phase = seconds, phase

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._phase] += time.perf_counter() - self._start
