"""Wasserstein barycenter fusion: every layer of the fused network is a barycenter of the networks' layers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.activation_matching import check_examples
from lmc.alignment.base import Needs, check_seed
from lmc.alignment.settings import check_at_least, check_choices
from lmc.fusion.activations import Activations
from lmc.fusion.base import AbstractFusion
from lmc.fusion.couple import Couple, Solver
from lmc.fusion.free_support import Barycenter, Plans, barycenter, block_costs
from lmc.fusion.layers import Layers, Place
from lmc.fusion.problem import Problem, check_states
from lmc.fusion.readout import Normalize, read_out, width_ratio, with_statistics
from lmc.fusion.result import FusionResult
from lmc.fusion.starts import starts
from lmc.fusion.turns import in_turns
from lmc.fusion.walk import Walk
from lmc.symmetry import PermutationGroup
from lmc.symmetry.sites import Place as Where


@dataclass(frozen=True)
class WassersteinBarycenter(AbstractFusion):
    r"""Fuse layer by layer, forward: units are points, a layer is their measure, the fused layer a barycenter.

    .. math:: \min_{W_l, \pi^i_l} \sum_i \lambda_i \sum_{jg} \pi^i_{l,jg} C^i_l(j, g), \qquad
        C^i_l(j, g) = \sum_{ab} \pi^i_{l-1,ab} (W_{l,ja} - W^i_{l,gb})^2

    A unit is a function of the units of the layer before, so its inputs are compared along the couplings found there. A
    bias is one more input, whose coupling is known, as are the scale and shift of a norm. Groups that several layers
    add into share one coupling. Heads are matched one to one, together with what lies inside them.

    Parameters
    ----------
    on : {"weights", "activations"}
        What units are compared by; activations need data, and say how units are coupled, weights what is averaged.
    solver : {"emd", "sinkhorn"}
        Exact; or entropic, in the log domain.
    reg : float
        Weight of the entropy, as a share of the standard deviation of a layer's costs (sinkhorn).
    start : {"first", "random"} or int
        What the fused network starts as: the first network, or one of that number from 1 up, brought to the target's
        widths on its own where they are others; units drawn at random from all networks; or ``initial``.
    starts : int
        How many starts each layer has in the first sweep: the one asked for, then the other networks, then random ones
        (with ``start="random"`` these alone); the layer's best objective is kept.
    iterations : int
        Most steps of a layer.
    sides : {"both", "incoming"}
        What units are compared by (weights): in the first sweep the weights that make them, as in [1]_, and with
        ``incoming`` these alone. With ``both`` those that read them count from the second sweep on, in which one
        network after the other is coupled to the barycenter of the rest. Two networks of one width that are fused by
        ``sides=incoming`` are fused as by transport of squared costs.
    sweeps : int
        How often the layers are walked through at most (weights). Once is enough for a chain of layers by its incoming
        weights; where several layers add into one group, only the first of them is known the first time.
    normalize : {"function", "mean-field"}
        How units are read where widths differ: so that a network alone keeps its function, or as means.
    examples : int or None
        Of the activations; None for all.
    place : {"pre", "post"}
        Activations before the nonlinearity, or after it.
    initial : state dict, optional
        A network of the target's widths to start from (weights).
    seed : int
        Of everything drawn.

    References
    ----------
    .. [1] Akash, Li, Trillos. Wasserstein Barycenter-based Model Fusion and Linear Mode Connectivity of Neural
       Networks. 2022.
    """

    on: Literal["weights", "activations"] = "weights"
    solver: Solver = "emd"
    reg: float = 0.1
    start: Literal["first", "random"] | int = "first"
    starts: int = 1
    iterations: int = 100
    sides: Literal["incoming", "both"] = "both"
    sweeps: int = 10
    normalize: Normalize = "function"
    examples: int | None = 1000
    place: Where = "pre"
    initial: StateDict | None = field(default=None, repr=False, compare=False)
    seed: int = 0

    citation: ClassVar[str] = """@article{akash2022wasserstein,
  title = {Wasserstein Barycenter-based Model Fusion and Linear Mode Connectivity of Neural Networks},
  author = {Akash, Aditya Kumar and Li, Sixu and Trillos, Nicol{\\'a}s Garc{\\'i}a},
  journal = {arXiv preprint arXiv:2210.06671},
  year = {2022}
}"""
    widths_may_differ: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(
            "wb",
            self,
            on=("weights", "activations"),
            solver=("emd", "sinkhorn"),
            sides=("incoming", "both"),
            normalize=("function", "mean-field"),
            place=("pre", "post"),
        )
        if not isinstance(self.start, int) and self.start not in ("first", "random"):
            raise unknown("wb: start", str(self.start), ("first", "random", "1", "2"))
        if not isinstance(self.reg, (int, float)) or not 0 < self.reg < float("inf"):
            raise UsageError(f"wb: reg must be a positive number, got {self.reg!r}.")
        check_at_least("wb", self, starts=1, iterations=1, sweeps=1)
        check_examples(self.examples, "wb")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples where units are compared by their activations."""
        return "data" if self.on == "activations" else "none"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        parts = [f"on={self.on}", f"solver={self.solver}", *([f"reg={self.reg}"] if self.solver == "sinkhorn" else [])]
        parts += [f"sides={self.sides}"] if self.on == "weights" or self.sides != "both" else []
        parts += [
            f"start={'given' if self.initial is not None else self.start}",
            f"starts={self.starts}",
            f"sweeps={self.sweeps}",
        ]
        parts += [f"iterations={self.iterations}"] if self.iterations != 100 else []
        parts += [f"examples={self.examples}", f"place={self.place}"] if self.on == "activations" else []
        return "wb?" + "&".join([*parts, f"normalize={self.normalize}", f"seed={self.seed}"])

    def fuse(self, problem: Problem) -> FusionResult:
        """Settle one group after the other, then read the fused network out."""
        begun = time.perf_counter()
        if isinstance(self.start, int) and not 1 <= self.start <= len(problem.states):
            raise UsageError(f"wb: start={self.start} is none of {len(problem.states)} networks, numbered from 1.")
        if self.initial is not None:
            check_states([self.initial], [problem.target])
        rng = np.random.default_rng(self.seed)

        def alone(place: Place, group: PermutationGroup, plans: Plans | None) -> Barycenter:
            return self._layer(problem, place, group, plans, rng)

        seen = Activations(problem, self.place, self.examples) if self.on == "activations" else None
        layers = Layers(problem, self.initial)
        walk = Walk(problem, layers, alone, seen, self.start - 1 if isinstance(self.start, int) else 0, self.seed)
        walk.run(self.sweeps, both=self.sides == "both")
        settled = time.perf_counter()
        state = read_out(problem, walk.couplings, layers.roles, self.normalize)
        state, note = with_statistics(problem, state)
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            couplings=tuple(walk.couplings),
            objective=walk.objective,
            objective_name="mix-weighted squared distance of the networks' units from the fused ones",
            trace=tuple(walk.trace),
            traces=walk.traces,
            rounding_loss=walk.rounding_loss,
            converged=not walk.notes,
            message="; ".join([walk.message, *note]),
            warnings=tuple(walk.notes),
            ratio=width_ratio(problem, self.normalize),
            seconds={"couplings": settled - begun, "read out": time.perf_counter() - settled},
            seed=self.seed,
            citation=self.citation,
        )

    def _layer(
        self,
        problem: Problem,
        place: Place,
        group: PermutationGroup,
        plans: Plans | None,
        rng: np.random.Generator,
    ) -> Barycenter:
        """Return the best barycenter over the starts of a layer."""
        couple = self._couple(place, group.blocks)
        if plans is not None and self.sides == "both":
            return in_turns(place.rows, problem.mix, plans, couple, rounds=self.iterations)
        tried = [
            barycenter(place.rows, problem.mix, start, couple, blocks=group.blocks, iterations=self.iterations)
            for start in starts(self, place, group, couple, rng, problem.mix, plans)
        ]
        return min(tried, key=lambda one: one.objective)

    def _couple(self, place: Place, blocks: int) -> Couple:
        if self.solver == "emd":
            return Couple()
        costs = [cost.std() for one in place.rows for cost in block_costs(one, place.rows[0].values, blocks)]
        return Couple("sinkhorn", self.reg * (float(np.mean(costs)) or 1.0))
