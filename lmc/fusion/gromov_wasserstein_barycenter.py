"""Gromov-Wasserstein barycenter: networks whose layers read themselves, fused by one coupling on both sides of that."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lmc._errors import UsageError
from lmc.alignment.activation_matching import check_examples
from lmc.alignment.base import Needs, check_seed
from lmc.alignment.coupling import Coupling
from lmc.alignment.families import Family
from lmc.alignment.settings import check_at_least, check_choices
from lmc.fusion.activations import Activations
from lmc.fusion.base import AbstractFusion
from lmc.fusion.fused_gw import Barycenter, Target, Units, barycenter, transported
from lmc.fusion.layers import Layers, Place
from lmc.fusion.nested import nested_barycenter
from lmc.fusion.problem import Problem
from lmc.fusion.readout import Normalize, read_out, width_ratio
from lmc.fusion.relations import compared
from lmc.fusion.result import FusionResult
from lmc.fusion.wasserstein import WassersteinBarycenter


@dataclass(frozen=True)
class GromovWassersteinBarycenter(AbstractFusion):
    r"""Fuse layer by layer, forward, where the units of a layer also read each other (RNN, LSTM, GRU).

    .. math:: \min_{W, H, \pi^i} \sum_i \lambda_i \Big[ \sum_{jg} \pi^i_{jg} C^i_{jg}
        + \alpha \sum_{jagb} \pi^i_{jg} \pi^i_{ab} (H_{ja} - H^i_{gb})^2 \Big]

    :math:`C` compares incoming weights given the layer before, as the Wasserstein barycenter does (the mean over
    incoming entries), and :math:`H` is hidden-to-hidden: one coupling moves both its sides. All gates of a cell share
    it. The problem is quadratic in a coupling: every step goes to the best coupling for the gradient as far as the true
    objective falls. Then :math:`H = k^2 \sum_i \lambda_i \pi^i H^i (\pi^i)^T`, until nothing falls any more; the best
    of several starts is kept. Layers that do not read themselves are compared by the distances between their units in
    place of :math:`H` (fused Gromov-Wasserstein).

    Parameters
    ----------
    alpha : float from 0 up, or "auto"
        Weight of the relations. ``auto``: every entry of weights counts the same (:math:`k_l / k_{l-1}`); with
        distances or hidden states, both terms do where units are coupled at random. 0: no relations.
    on : {"weights", "activations"}
        What units are compared by beside their relations: weights, or hidden states on examples at every step.
    reach : {"incoming", "both"}
        Weights that make a unit, or those that read it as well where what they make is known (outputs, layers before).
    examples : int or None
        Of the hidden states; None for all.
    starts : int
        From how many couplings: by incoming weights, all units alike, then random ones.
    normalize : {"function", "mean-field"}
        Read-out: what was read of a unit is split among its places, or (widths change the scale of the function) not.
    seed : int
        Of the starts.

    References
    ----------
    .. [1] Akash, Li, Trillos. Wasserstein Barycenter-based Model Fusion and Linear Mode Connectivity of Neural
       Networks. 2022.
    .. [2] Peyre, Cuturi, Solomon. Gromov-Wasserstein Averaging of Kernel and Distance Matrices. ICML 2016.
    """

    alpha: float | Literal["auto"] = "auto"
    on: Literal["weights", "activations"] = "weights"
    reach: Literal["incoming", "both"] = "both"
    examples: int | None = 1000
    starts: int = 8
    normalize: Normalize = "function"
    seed: int = 0

    citation: ClassVar[str] = WassersteinBarycenter.citation
    widths_may_differ: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(
            "gwb",
            self,
            on=("weights", "activations"),
            reach=("incoming", "both"),
            normalize=("function", "mean-field"),
        )
        check_at_least("gwb", self, starts=1)
        check_examples(self.examples, "gwb")
        number = isinstance(self.alpha, (int, float)) and not isinstance(self.alpha, bool)
        if self.alpha != "auto" and not (number and 0 <= float(self.alpha) < float("inf")):
            raise UsageError(f"gwb: alpha is a number from 0 up, or auto, not {self.alpha!r}.")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples where features are hidden states."""
        return "data" if self.on == "activations" else "none"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        parts = [f"alpha={self.alpha}", f"starts={self.starts}"]
        parts += ["reach=incoming"] if self.reach == "incoming" else []
        parts += [f"on=activations&examples={self.examples}"] if self.on == "activations" else []
        parts += ["normalize=mean-field"] if self.normalize == "mean-field" else []
        return "gwb?" + "&".join([*parts, f"seed={self.seed}"])

    def fuse(self, problem: Problem) -> FusionResult:
        """Walk through the layers, each given the couplings of the ones before."""
        begun = time.perf_counter()
        layers = Layers(problem)
        seen = Activations(problem, "post", self.examples) if self.on == "activations" else None
        couplings: list[dict[str, Coupling]] = [{} for _ in problem.states]
        traces: dict[str, tuple[float, ...]] = {}
        falling: list[str] = []
        rounding = 0.0
        for family in layers.families if seen is None else seen.families:
            settled = self._settled(layers, family, seen.places(family) if seen else None)
            traces[family.name] = settled.trace
            rounding += settled.rounding_loss
            falling += [] if settled.converged else [family.name]
            for network, plans in enumerate(settled.plans):
                found = {name: Coupling(plan) for name, plan in plans.items()}
                couplings[network].update(found)
                layers.settle(network, {name: one.makes() for name, one in found.items()})
        coupled = time.perf_counter()
        state = read_out(problem, couplings, layers.roles, self.normalize)
        ends = [trace[-1] for trace in traces.values() if trace]
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            couplings=tuple(couplings),
            objective=float(sum(ends)),
            objective_name="mix-weighted fused Gromov-Wasserstein cost of the networks' units, summed over groups",
            trace=tuple(np.cumsum(ends).tolist()),
            traces=traces,
            rounding_loss=rounding,
            converged=not falling,
            message=_message(couplings, falling),
            ratio=width_ratio(problem, self.normalize),
            seconds={"couplings": coupled - begun, "read out": time.perf_counter() - coupled},
            seed=self.seed,
            citation=self.citation,
        )

    def _settled(self, layers: Layers, family: Family, shown: list[Place] | None) -> _Settled:
        """Return the couplings of one group; of heads with what lies inside them, by incoming weights."""
        if not family.alone:
            places = layers.places(family) if shown is None else shown
            matched = nested_barycenter(family, places, layers.problem.mix, 0, seed=self.seed)
            return _Settled([matched.plans(family, i) for i in range(len(layers.problem.states))], matched.trace)
        size = family.groups[0].size
        problems = compared(layers, family, self.alpha, reach=self.reach, shown=shown[0] if shown else None)
        blocks = [self._fused(units, size) for units in problems]
        plans = [{family.name: np.stack([one.plans[i] for one in blocks])} for i in range(len(layers.problem.states))]
        return _Settled(
            plans,
            _summed([one.trace for one in blocks]),
            all(one.converged for one in blocks),
            sum(one.rounding_loss for one in blocks),
        )

    def _fused(self, units: Units, size: int) -> Barycenter:
        """Return the best barycenter of one layer over all starts."""
        rng = np.random.default_rng(self.seed)
        tried = [self._from(units, size, start, rng) for start in range(self.starts)]
        return min(tried, key=lambda one: one.objective)

    def _from(self, units: Units, size: int, start: int, rng: np.random.Generator) -> Barycenter:
        """Return the barycenter reached from one start: the first network's units, or some of them, as the layer."""
        first = units.sizes[0]
        same = size == first
        chosen = np.arange(size) if same else np.resize(rng.permutation(first), size)
        target = Target.copy(units, 0, chosen)
        plans = [self._start(target.cost(units, i), start, rng) for i in range(len(units.mix))]
        if same:
            plans[0] = np.eye(size) / size
        return barycenter(units, target, plans)

    def _start(self, cost: NDArray[np.float64], start: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return a coupling to begin with: by features, all alike, or halfway to a random one."""
        alike = np.full(cost.shape, 1 / cost.size)
        if start == 0:
            return transported(cost)
        return alike if start == 1 else (alike + transported(rng.random(cost.shape))) / 2


@dataclass(frozen=True, eq=False)
class _Settled:
    """Plans of a family, for every network by name of the group, and how they came about."""

    plans: list[dict[str, NDArray[np.float64]]]
    trace: tuple[float, ...]
    converged: bool = True
    rounding_loss: float = 0.0


def _summed(traces: list[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the sum of the blocks' traces, those that ended early staying where they ended."""
    longest = max(map(len, traces))
    return tuple(np.sum([[*trace, *[trace[-1]] * (longest - len(trace))] for trace in traces], axis=0).tolist())


def _message(couplings: list[dict[str, Coupling]], falling: list[str]) -> str:
    plans = [coupling for held in couplings for coupling in held.values()]
    square = [one.hardness for one in plans if one.plan.shape[1] == one.plan.shape[2]]
    words = [f"{100 * float(np.mean(square)):.0f}% of the plans on a permutation"] if square else []
    words += [f"{len(plans) // max(1, len(couplings))} groups settled"]
    return "; ".join([*words, *(f"{name}: the objective still fell" for name in falling)])
