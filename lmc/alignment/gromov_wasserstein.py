"""Gromov-Wasserstein: units go where their distances to the other units of their own network are kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.activation_matching import check_examples
from lmc.alignment.assignment import assign
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.coupling import Coupling
from lmc.alignment.families import Family
from lmc.alignment.layerwise import Coupled, Walk
from lmc.alignment.result import AlignmentResult
from lmc.alignment.unit_costs import Products, blocks_of
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec

Kind = Literal["fused", "pure", "entropic", "semirelaxed", "partial"]


@dataclass(frozen=True)
class GromovWasserstein(AbstractAlignment):
    r"""Couple units so that the geometry within each network is kept, and units with alike inputs meet.

    .. math:: \min_{\pi} (1-\alpha) \sum_{ij} M_{ij} \pi_{ij}
        + \alpha \sum_{ijkl} (C^A_{ik} - C^B_{jl})^2 \pi_{ij} \pi_{kl}

    :math:`C` holds distances between the units of one network, by all the weights they lie in (or by what they do on
    examples): no order of the neighbouring layers matters to it. :math:`M` compares incoming weights given the layers
    before, as OTFusion does. Both are scaled by their means. The problem is not convex: it is solved from several
    starts, and the one whose permutation is best is kept. Heads, with what lies inside them, are matched by :math:`M`
    alone. Two units alone have one distance: without features nothing tells them apart.

    Parameters
    ----------
    kind : {"fused", "pure", "entropic", "semirelaxed", "partial"}
        With features; without (it recovers little under noise); with entropy; B's marginal free; a share of the mass.
    alpha : float, in (0, 1]
        Weight of the geometry; 1 for pure.
    on : {"weights", "activations"}
        What distances and features are made from.
    reg : float
        Weight of the entropy (entropic).
    mass : float, in (0, 1]
        Share of the mass that is transported (partial).
    starts : int
        How many: the product of the marginals, the plan of the features alone, then random ones.
    soft : bool
        Move B along the plan itself as well.
    examples : int or None
        Of the activations; None for all.
    place : {"pre", "post"}
        Activations before or after the nonlinearity.
    seed : int
        Of the random starts.

    References
    ----------
    .. [1] Memoli. Gromov-Wasserstein Distances and the Metric Approach to Object Matching. 2011.
    .. [2] Vayer, Chapel, Flamary, Tavenard, Courty. Optimal Transport for structured data. ICML 2019, Eq. 4.
    """

    kind: Kind = "fused"
    alpha: float = 0.5
    on: Literal["weights", "activations"] = "weights"
    reg: float = 0.05
    mass: float = 0.9
    starts: int = 4
    soft: bool = False
    examples: int | None = 1000
    place: Literal["pre", "post"] = "pre"
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{vayer2019optimal,
  title = {Optimal Transport for structured data with application on graphs},
  author = {Vayer, Titouan and Chapel, Laetitia and Flamary, R{\\'e}mi and Tavenard, Romain and Courty, Nicolas},
  booktitle = {International Conference on Machine Learning},
  year = {2019}
}"""

    def __post_init__(self) -> None:
        choices = {
            "kind": ("fused", "pure", "entropic", "semirelaxed", "partial"),
            "on": ("weights", "activations"),
            "place": ("pre", "post"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown(f"gw: {name}", getattr(self, name), known)
        for name, upper in (("alpha", 1.0), ("mass", 1.0), ("reg", float("inf"))):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value <= upper:
                raise UsageError(f"gw: {name} must lie above 0{'' if upper > 1 else ' and up to 1'}, got {value!r}.")
        if not isinstance(self.starts, int) or self.starts < 1:
            raise UsageError(f"gw: starts must be a positive integer, got {self.starts!r}.")
        check_examples(self.examples, "gw")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples where distances are those of activations."""
        return "data" if self.on == "activations" else "none"

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Walk through the layers, each given the ones before."""
        walk = Walk(a, b, spec, self._couple, soft=self.soft, seed=self.seed)
        if self.on == "activations":
            walk.look(data, module, self.place, self.examples, inner=True)
        name = "minus the fused Gromov-Wasserstein cost, features and distances scaled by their means"
        return walk.run().result(self.reference, name, self.citation)

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        parts = [f"kind={self.kind}", f"alpha={self._alpha}", f"on={self.on}", f"starts={self.starts}"]
        parts += [f"reg={self.reg}"] if self.kind == "entropic" else []
        parts += [f"mass={self.mass}"] if self.kind == "partial" else []
        parts += [f"examples={self.examples}", f"place={self.place}"] if self.on == "activations" else []
        return "gw?" + "&".join([*parts, *(["soft=true"] if self.soft else []), f"seed={self.seed}"])

    @property
    def _alpha(self) -> float:
        return 1.0 if self.kind == "pure" else float(self.alpha)

    def _couple(self, walk: Walk, family: Family, products: Products | None) -> Coupled | None:
        """Couple one group's units, block by block."""
        group = family.groups[0]
        one, two = (blocks_of(family, geometry) for geometry in _geometries(walk, family))
        features = np.zeros_like(one)
        if products is not None and self._alpha < 1:
            features = blocks_of(family, products.cost("sqeuclidean").cpu().numpy())
        problems = [_Problem.scaled(*parts, self._alpha) for parts in zip(features, one, two, strict=True)]
        runs = [[self._solve(problem, start) for start in self._starts(problem)] for problem in problems]
        best = [min(run, key=lambda tried: tried[2]) for run in runs]
        starts = tuple(
            float(np.mean(costs)) for costs in zip(*[[tried[2] for tried in run] for run in runs], strict=True)
        )
        notes = {note for _, _, _, note in best if note}
        coupling = Coupling(np.stack([plan for plan, *_ in best]))
        soft, hard = float(np.mean([tried[1] for tried in best])), float(np.mean([tried[2] for tried in best]))
        assert coupling.plan.shape == (group.blocks, group.size, group.size)
        return Coupled(coupling, soft, hard, tuple(sorted(notes)), starts)

    def _starts(self, problem: _Problem) -> Iterator[NDArray[np.float64]]:
        size = len(problem.features)
        product = np.full((size, size), 1 / size**2)
        rng = np.random.default_rng(self.seed)
        for number in range(self.starts):
            if number == 0:
                yield product
                continue
            # Halfway to a permutation: a vertex would be a local optimum itself.
            chosen = assign(-problem.features) if number == 1 else rng.permutation(size)
            yield product / 2 + np.eye(size)[chosen] / (2 * size)

    def _solve(self, problem: _Problem, start: NDArray) -> tuple[NDArray[np.float64], float, float, str]:
        """Return the plan, its cost, that of its permutation, and what has to be said."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            plan, log = self._call(problem, start)
        plan = np.maximum(np.asarray(plan, dtype=np.float64), 0.0)
        note = f"{self.kind}: not converged" if said or len(log.get("loss", ())) >= _ITERATIONS else ""
        if not np.isfinite(plan).all() or not plan.sum() > 0:
            plan, note = start, f"{self.kind} gave no plan: its start stands for it"
        chosen = assign(plan)
        return plan, problem.value(plan / plan.sum()), problem.value(np.eye(len(plan))[chosen] / len(plan)), note

    def _call(self, problem: _Problem, start: NDArray) -> tuple[Any, dict[str, Any]]:
        import ot

        mu = np.full(len(start), 1 / len(start))
        given: dict[str, Any] = {"alpha": self._alpha, "symmetric": True, "G0": start, "log": True}
        parts: tuple[Any, Any, Any] = (problem.features, problem.one, problem.two)
        if self.kind == "entropic":
            limits: dict[str, Any] = {"epsilon": self.reg, "max_iter": _ITERATIONS, "tol": 1e-7}
            return ot.gromov.entropic_fused_gromov_wasserstein(*parts, mu, mu, **limits, **given)
        if self.kind == "semirelaxed":
            return ot.gromov.semirelaxed_fused_gromov_wasserstein(*parts, mu, max_iter=_ITERATIONS, **given)
        if self.kind == "partial":
            del given["G0"]  # takes no start of full mass
            return ot.gromov.partial_fused_gromov_wasserstein(
                *parts, mu, mu, m=self.mass, numItermax=_ITERATIONS, **given
            )
        return ot.gromov.fused_gromov_wasserstein(*parts, mu, mu, max_iter=_ITERATIONS, **given)


_ITERATIONS = 300


@dataclass(frozen=True, eq=False)
class _Problem:
    """One block: features, the two geometries, and how much the geometry counts."""

    features: NDArray[np.float64]
    one: NDArray[np.float64]
    two: NDArray[np.float64]
    alpha: float

    @classmethod
    def scaled(cls, features: NDArray, one: NDArray, two: NDArray, alpha: float) -> _Problem:
        """Scale features and distances by their means; where there are no features the geometry decides alone."""
        scale = float((one.mean() + two.mean()) / 2) or 1.0
        known = bool(features.any())
        return cls(features / (float(features.mean()) or 1.0), one / scale, two / scale, alpha if known else 1.0)

    def value(self, plan: NDArray[np.float64]) -> float:
        """Return the objective of a plan of mass one."""
        mu, nu = plan.sum(1), plan.sum(0)
        bent = mu @ self.one**2 @ mu + nu @ self.two**2 @ nu - 2 * ((self.one @ plan @ self.two) * plan).sum()
        return float((1 - self.alpha) * (self.features * plan).sum() + self.alpha * max(bent, 0.0))


def _geometries(walk: Walk, family: Family) -> Iterator[NDArray[np.float64]]:
    """Yield the distances between the units of A, and between those of B as it was given."""
    seen = walk.seen(family)
    for state, end in ((walk.a, 0), (walk.b, 1)):
        inner = [(m.inner_a, m.inner_b)[end] for _, _, m in seen] or [_gram(family, state, walk.spec)]
        products = torch.stack(inner).sum(0)
        squares = products.diagonal()
        yield (squares[:, None] + squares - 2 * products).clamp(min=0).sqrt().cpu().numpy()


def _gram(family: Family, state: StateDict, spec: PermutationSpec) -> Tensor:
    """Return the inner products of a group's units over every tensor it lies in: the order of neighbours cancels."""
    group = family.groups[0]
    axes = [axis for axis in group.axes if axis.param not in spec.buffers]
    rows = [family.rows({group.name: axis}, state[axis.param]).double() for axis in axes]
    return torch.stack([one @ one.T for one in rows]).sum(0)
