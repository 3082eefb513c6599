"""OTFusion as a way to fuse: every network is transported to one of them, the pivot, and their mean is taken."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lmc._errors import UsageError
from lmc.alignment.base import Needs
from lmc.alignment.coupling import Coupling
from lmc.alignment.optimal_transport import OptimalTransport
from lmc.alignment.result import AlignmentResult
from lmc.alignment.unit_costs import Metric
from lmc.fusion.activations import Activations
from lmc.fusion.aligned import couplings_of
from lmc.fusion.base import AbstractFusion
from lmc.fusion.couple import Couple
from lmc.fusion.free_support import Barycenter, Plans
from lmc.fusion.layers import Layers, Place, Rows
from lmc.fusion.problem import Problem
from lmc.fusion.readout import Normalize, read_out, width_ratio, with_statistics
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import taken_over
from lmc.fusion.starts import distilled
from lmc.fusion.walk import Walk
from lmc.symmetry import PermutationGroup, PermutationSpec
from lmc.symmetry.sites import Sighting


@dataclass(frozen=True)
class OTFusion(AbstractFusion):
    r"""Transport every network to the pivot, layer by layer, and average.

    .. math:: W_l = \sum_i \lambda_i (k_l \pi^i_l) W^i_l (k^i_{l-1} \pi^i_{l-1})^\top

    with the plans of :class:`lmc.OptimalTransport`, pivot fixed. Into other widths than the pivot's, the pivot is
    brought to these first, and every network is transported there; units then weigh the same (``marginals=uniform``).

    Parameters
    ----------
    on, cost, solver, marginals, reg, slack, examples, place
        As in :class:`lmc.OptimalTransport`.
    pivot : int
        Number of the network that the others go to, from 1 up.
    normalize : {"function", "mean-field"}
        How units are read where widths differ.
    seed : int
        Of everything drawn.

    References
    ----------
    .. [1] Singh, Jaggi. Model Fusion via Optimal Transport. NeurIPS 2020, Alg. 1.
    """

    on: Literal["weights", "activations"] = "weights"
    cost: Metric = "euclidean"
    solver: Literal["emd", "sinkhorn", "unbalanced"] = "emd"
    marginals: Literal["uniform", "l1", "l2"] = "uniform"
    reg: float = 0.1
    slack: float = 1.0
    examples: int | None = 200
    place: Literal["pre", "post"] = "pre"
    pivot: int = 1
    normalize: Normalize = "function"
    seed: int = 0

    citation: ClassVar[str] = OptimalTransport.citation
    widths_may_differ: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.pivot, int) or self.pivot < 1:
            raise UsageError(f"ot: pivot is the number of a network from 1 up, not {self.pivot!r}.")
        _ = self._transport  # checks the rest

    @property
    def _transport(self) -> OptimalTransport:
        return taken_over(OptimalTransport, self, soft=True)

    @property
    def needs(self) -> Needs:
        """Examples where units are compared by their activations."""
        return self._transport.needs

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        transport = self._transport.reference.removesuffix("&soft=true")
        return f"{transport}&pivot={self.pivot}&normalize={self.normalize}" + f"&seed={self.seed}" * bool(self.seed)

    def fuse(self, problem: Problem) -> FusionResult:
        """Transport, then average."""
        begun = time.perf_counter()
        if self.pivot > len(problem.states):
            raise UsageError(f"ot: pivot={self.pivot} is none of {len(problem.states)} networks, numbered from 1.")
        found = self._pivoted(problem) if problem.one_width else self._into_widths(problem)
        settled = time.perf_counter()
        state = read_out(problem, found.couplings, Sighting(problem.target).roles(), self.normalize)
        state, note = with_statistics(problem, state)
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            couplings=found.couplings,
            objective=found.objective,
            objective_name="mean cost of matched units",
            rounding_loss=found.rounding_loss,
            converged=not found.notes,
            message="; ".join([f"transported to network {self.pivot}", *found.notes, *note]),
            warnings=found.notes,
            ratio=width_ratio(problem, self.normalize),
            seconds={"couplings": settled - begun, "read out": time.perf_counter() - settled},
            seed=self.seed,
            citation=self.citation,
        )

    def _pivoted(self, problem: Problem) -> _Found:
        """Align every network to the pivot as they are."""
        pivot = problem.states[self.pivot - 1]
        couplings, costs, lost, notes = [], 0.0, 0.0, {}
        for number, (state, share) in enumerate(zip(problem.states, problem.mix, strict=True), start=1):
            if number == self.pivot:
                couplings.append(couplings_of(problem.target, problem.target.identity()))
                continue
            result = self._transport.align(pivot, state, problem.target, problem.data, module=problem.module)
            couplings.append(_couplings(problem.target, result))
            costs, lost = costs - share * result.objective, lost + share * result.rounding_loss
            notes.update({f"network {number}: {result.message}": None} if not result.converged else {})
        return _Found(tuple(couplings), costs, lost, tuple(notes))

    def _into_widths(self, problem: Problem) -> _Found:
        """Bring the pivot to the target's widths, and every network to it."""
        if self.solver == "unbalanced" or self.marginals != "uniform":
            raise UsageError("ot: between different widths use solver=emd or sinkhorn, and marginals=uniform.")
        rng = np.random.default_rng(self.seed)

        def alone(place: Place, group: PermutationGroup, plans: Plans | None) -> Barycenter:
            pivot = distilled(place.rows[self.pivot - 1], group, Couple(), rng)
            costs = [
                [Rows(*part).cost(at, self.cost) for part, at in _blocks(rows, pivot, group.blocks)]
                for rows in place.rows
            ]
            scale = float(np.mean([cost.std() for one in costs for cost in one])) or 1.0
            couple = Couple() if self.solver == "emd" else Couple("sinkhorn", self.reg * scale)
            solved = [[couple.plan(cost) for cost in one] for one in costs]
            means = [
                float(sum((plan * cost).sum() for (plan, _), cost in zip(*pair, strict=True))) / group.blocks
                for pair in zip(solved, costs, strict=True)
            ]
            notes = tuple({note: None for one in solved for _, note in one if note})
            worth = sum(share * mean for share, mean in zip(problem.mix, means, strict=True))
            return Barycenter(pivot, tuple(np.stack([plan for plan, _ in one]) for one in solved), (worth,), notes)

        seen = Activations(problem, self.place, self.examples) if self.on == "activations" else None
        walk = Walk(problem, Layers(problem), alone, seen, self.pivot - 1, self.seed)
        walk.run()
        return _Found(tuple(walk.couplings), walk.objective / max(1, len(walk.traces)), 0.0, tuple(walk.notes))


@dataclass(frozen=True, eq=False)
class _Found:
    couplings: tuple[dict[str, Coupling], ...]
    objective: float
    rounding_loss: float
    notes: tuple[str, ...]


def _blocks(rows: Rows, target, blocks: int):
    parts = zip(rows.values.chunk(blocks), rows.squares.chunk(blocks), strict=True)
    return zip(parts, target.chunk(blocks), strict=True)


def _couplings(spec: PermutationSpec, result: AlignmentResult) -> dict[str, Coupling]:
    """Return the plans of an alignment; its permutation where it has none."""
    return {**couplings_of(spec, result.permutation), **result.couplings}
