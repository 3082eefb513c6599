"""Wasserstein barycenter fusion: every layer of the fused network is a barycenter of the networks' layers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.base import check_seed
from lmc.alignment.coupling import Coupling
from lmc.alignment.families import Family
from lmc.fusion.base import AbstractFusion
from lmc.fusion.couple import Couple, Solver, spread
from lmc.fusion.free_support import Barycenter, barycenter, block_costs
from lmc.fusion.layers import Layers, Place
from lmc.fusion.nested import nested_barycenter
from lmc.fusion.problem import Problem, check_states
from lmc.fusion.readout import Normalize, read_out, width_ratio
from lmc.fusion.result import FusionResult
from lmc.fusion.starts import starts


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
    solver : {"emd", "sinkhorn"}
        Exact; or entropic, in the log domain.
    reg : float
        Weight of the entropy, as a share of the standard deviation of a layer's costs (sinkhorn).
    start : {"first", "random"} or int
        What the fused network starts as: the first network, or one of that number from 1 up, brought to the target's
        widths on its own where they are others; units drawn at random from all networks; or ``initial``.
    starts : int
        How many starts each layer has, the one asked for first, then the other networks, then random ones; the layer's
        best objective is kept.
    iterations : int
        Most steps of a layer.
    normalize : {"function", "mean-field"}
        How units are read where widths differ: so that a network alone keeps its function, or as means.
    initial : state dict, optional
        A network of the target's widths to start from.
    seed : int
        Of everything drawn.

    References
    ----------
    .. [1] Akash, Li, Trillos. Wasserstein Barycenter-based Model Fusion and Linear Mode Connectivity of Neural
       Networks. 2022.
    """

    solver: Solver = "emd"
    reg: float = 0.1
    start: Literal["first", "random"] | int = "first"
    starts: int = 1
    iterations: int = 100
    normalize: Normalize = "function"
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
        for name, known in (("solver", ("emd", "sinkhorn")), ("normalize", ("function", "mean-field"))):
            if getattr(self, name) not in known:
                raise unknown(f"wb: {name}", getattr(self, name), known)
        if not isinstance(self.start, int) and self.start not in ("first", "random"):
            raise unknown("wb: start", str(self.start), ("first", "random", "1", "2"))
        if not isinstance(self.reg, (int, float)) or not 0 < self.reg < float("inf"):
            raise UsageError(f"wb: reg must be a positive number, got {self.reg!r}.")
        for name, least in (("starts", 1), ("iterations", 1)):
            if not isinstance(value := getattr(self, name), int) or isinstance(value, bool) or value < least:
                raise UsageError(f"wb: {name} must be a whole number from {least} up, got {value!r}.")
        check_seed(self.seed)

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        parts = [f"solver={self.solver}", *([f"reg={self.reg}"] if self.solver == "sinkhorn" else [])]
        parts += [f"start={'given' if self.initial is not None else self.start}", f"starts={self.starts}"]
        return "wb?" + "&".join([*parts, f"normalize={self.normalize}", f"seed={self.seed}"])

    def fuse(self, problem: Problem) -> FusionResult:
        """Settle one group after the other, then read the fused network out."""
        begun = time.perf_counter()
        if isinstance(self.start, int) and not 1 <= self.start <= len(problem.states):
            raise UsageError(f"wb: start={self.start} is none of {len(problem.states)} networks, numbered from 1.")
        if self.initial is not None:
            check_states([self.initial], [problem.target])
        walk = Walk(self, problem)
        for family in walk.layers.families:
            walk.settle(family)
        settled = time.perf_counter()
        state = read_out(problem, walk.couplings, walk.layers.roles, self.normalize)
        return walk.result(state, {"couplings": settled - begun, "read out": time.perf_counter() - settled})


class Walk:
    """The groups settled so far.

    Parameters
    ----------
    method : WassersteinBarycenter
        Settings.
    problem : Problem
        Networks and target.
    """

    def __init__(self, method: WassersteinBarycenter, problem: Problem) -> None:
        self.method, self.problem = method, problem
        self.layers = Layers(problem, method.initial)
        self.couplings: list[dict[str, Coupling]] = [{} for _ in problem.states]
        self.traces: dict[str, tuple[float, ...]] = {}
        self.notes: dict[str, None] = {}
        self._rng = np.random.default_rng(method.seed)

    def settle(self, family: Family) -> None:
        """Find the couplings of a family, given those before."""
        places = self.layers.places(family)
        if not places:
            self.notes[f"{family.name}: nothing to compare it by, kept in order"] = None
            for network in range(len(self.couplings)):
                self._take(network, {group.name: self._in_order(group.name, network) for group in family.groups})
        elif family.alone:
            found = self._alone(family, places[0])
            self.traces[family.name] = found.trace
            self.notes.update(dict.fromkeys(found.notes))
            for network, plan in enumerate(found.plans):
                self._take(network, {family.name: plan})
        else:
            start = self.method.start - 1 if isinstance(self.method.start, int) else 0
            matched = nested_barycenter(family, places, self.problem.mix, start, seed=self.method.seed)
            self.traces[family.name] = matched.trace
            for network in range(len(self.couplings)):
                self._take(network, matched.plans(family, network))

    def _alone(self, family: Family, place: Place) -> Barycenter:
        group = self.layers.target[family.name]
        couple = self._couple(place, group.blocks)
        found: Barycenter | None = None
        for start in starts(self.method, place, group, couple, self._rng):
            one = barycenter(
                place.rows,
                self.problem.mix,
                start,
                couple,
                blocks=group.blocks,
                iterations=self.method.iterations,
            )
            found = one if found is None or one.objective < found.objective else found
        assert found is not None
        return found

    def _couple(self, place: Place, blocks: int) -> Couple:
        if self.method.solver == "emd":
            return Couple()
        costs = [cost.std() for one in place.rows for cost in block_costs(one, place.rows[0].values, blocks)]
        return Couple("sinkhorn", self.method.reg * (float(np.mean(costs)) or 1.0))

    def _in_order(self, name: str, network: int) -> np.ndarray:
        group, size = self.layers.target[name], self.problem.specs[network][name].size
        return np.tile(spread(group.size, size), (group.blocks, 1, 1))

    def _take(self, network: int, plans: dict[str, np.ndarray]) -> None:
        found = {name: Coupling(plan) for name, plan in plans.items()}
        self.couplings[network].update(found)
        self.layers.settle(network, {name: one.makes() for name, one in found.items()})

    def result(self, state: dict, seconds: dict[str, float]) -> FusionResult:
        """Return what was found, and how it ended."""
        problem, method = self.problem, self.method
        hard = [coupling.hardness for found in self.couplings for coupling in found.values()] if self.one_width else []
        words = [f"{100 * float(np.mean(hard)):.0f}% of the plans on a permutation"] if hard else []
        return FusionResult(
            method.reference,
            state,
            problem.target,
            problem.mix,
            couplings=tuple(self.couplings),
            objective=sum(trace[-1] for trace in self.traces.values()),
            objective_name=_OBJECTIVE,
            trace=tuple(np.cumsum([trace[-1] for trace in self.traces.values()]).tolist()),
            traces=self.traces,
            converged=not self.notes,
            message="; ".join([*words, f"{len(self.traces)} groups settled", *self.notes]),
            ratio=width_ratio(problem, method.normalize),
            seconds=seconds,
            seed=method.seed,
            citation=method.citation,
        )

    @property
    def one_width(self) -> bool:
        """Whether plans are square."""
        return self.problem.one_width


_OBJECTIVE = "mix-weighted squared distance of the networks' units from the fused ones"
