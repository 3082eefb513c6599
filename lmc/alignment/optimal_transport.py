"""OTFusion: units of B are transported to the places of A's, layer by layer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.activation_matching import Activations, check_examples
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.capture import watch
from lmc.alignment.coupling import Coupling, apply_soft
from lmc.alignment.families import Family, families, match
from lmc.alignment.result import AlignmentResult
from lmc.alignment.unit_costs import Layers, Metric, Products, blocks_of, worths
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec
from lmc.symmetry.sites import Roles, Sighting


@dataclass(frozen=True)
class OptimalTransport(AbstractAlignment):
    r"""Transport units layer by layer, forward.

    .. math:: \pi_l = \arg\min_{\pi \in \Pi(\mu, \nu)} \sum_{ij} \pi_{ij} C_l(i, j)

    where the cost compares row i of A with row j of B, whose inputs have been moved by the layers before (weights), or
    what both units do on examples (activations). A stream that several layers add into is settled by the first of them.
    Heads are matched one to one, together with what lies inside them.

    Parameters
    ----------
    on : {"weights", "activations"}
        What units are compared by.
    cost : {"euclidean", "sqeuclidean", "cosine"}
        How.
    solver : {"emd", "sinkhorn", "unbalanced"}
        Exact; entropic, in the log domain; or exact with marginals that may be missed.
    marginals : {"uniform", "l1", "l2"}
        Mass of a unit: all the same, or the norm of its incoming weights (of its activations).
    soft : bool
        Move B along the plan itself as well. The plan's permutation is what ``apply`` uses, always.
    reg : float
        Weight of the entropy, as a share of the costs' standard deviation (sinkhorn).
    slack : float
        Price of missed mass, as a multiple of the mean cost (unbalanced).
    examples : int or None
        Of the activations; None for all.
    place : {"pre", "post"}
        Activations before the nonlinearity, as in the paper, or after it.
    seed : int
        Of restarts, where there are groups inside groups.

    References
    ----------
    .. [1] Singh, Jaggi. Model Fusion via Optimal Transport. NeurIPS 2020, Alg. 1.
    """

    on: Literal["weights", "activations"] = "weights"
    cost: Metric = "euclidean"
    solver: Literal["emd", "sinkhorn", "unbalanced"] = "emd"
    marginals: Literal["uniform", "l1", "l2"] = "uniform"
    soft: bool = False
    reg: float = 0.05
    slack: float = 1.0
    examples: int | None = 200
    place: Literal["pre", "post"] = "pre"
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{singh2020model,
  title = {Model Fusion via Optimal Transport},
  author = {Singh, Sidak Pal and Jaggi, Martin},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2020}
}"""

    def __post_init__(self) -> None:
        choices = {
            "on": ("weights", "activations"),
            "cost": ("euclidean", "sqeuclidean", "cosine"),
            "solver": ("emd", "sinkhorn", "unbalanced"),
            "marginals": ("uniform", "l1", "l2"),
            "place": ("pre", "post"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown(f"ot: {name}", getattr(self, name), known)
        for name in ("reg", "slack"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise UsageError(f"ot: {name} must be a positive number, got {value!r}.")
        check_examples(self.examples, "ot")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples where units are compared by their activations."""
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
        walk = _Walk(self, a, b, spec)
        if self.on == "activations":
            assert data is not None
            walk.look(data, module)
        for family in walk.families:
            walk.settle(family)
        return walk.result()

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        parts = [f"on={self.on}", f"cost={self.cost}", f"solver={self.solver}", f"marginals={self.marginals}"]
        parts += [f"reg={self.reg}"] if self.solver == "sinkhorn" else []
        parts += [f"slack={self.slack}"] if self.solver == "unbalanced" else []
        parts += [f"examples={self.examples}", f"place={self.place}"] if self.on == "activations" else []
        return "ot?" + "&".join([*parts, *(["soft=true"] if self.soft else [])])


@dataclass(eq=False)
class _Walk:
    """The layers settled so far."""

    method: OptimalTransport
    a: StateDict
    b: StateDict
    spec: PermutationSpec
    permutation: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    couplings: dict[str, Coupling] = field(default_factory=dict)
    costs: list[tuple[float, float]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"cost": 0.0, "assignment": 0.0, "apply": 0.0})

    def __post_init__(self) -> None:
        self.roles: Roles = Sighting(self.spec).roles()
        self.layers = Layers(self.a, self.b, self.spec, self.roles)
        self.activations: Activations | None = None
        self.families = families(self.spec)

    def look(self, data: AbstractData, module: nn.Module | None) -> None:
        """Compare units by what they do on examples."""
        with _Timed(self.seconds, "cost"):
            self.activations = Activations(self.spec)
            options = {"place": self.method.place, "examples": self.method.examples, "seen": self.activations}
            watch(self.a, self.b, self.spec, data, module, **options)
            self.families = self.activations.families

    def settle(self, family: Family) -> None:
        """Find a family's plan and move B by it."""
        with _Timed(self.seconds, "cost"):
            places = self._places(family)
        with _Timed(self.seconds, "assignment"):
            if not places:
                self.notes[f"{family.name}: nothing to compare it by before what reads it, left as it is"] = None
                self.permutation |= {group.name: group.identity() for group in family.groups}
            elif family.alone:
                self._transport(family, places[0][2])
            else:
                found, worth = match(family, worths(places, self.method.cost), self.method.seed)
                self.permutation |= found
                self.costs.append((-worth, -worth))
        with _Timed(self.seconds, "apply"):
            self.layers.settle(family, self._moved())

    def _moved(self) -> StateDict:
        if self.method.soft and self.couplings:
            return apply_soft(self.spec, self.b, self.couplings, self.permutation, self.roles)
        return self.spec.apply(self.b, self.permutation)

    def _places(self, family: Family) -> list:
        if self.activations is None:
            return self.layers.products(family)
        seen = self.activations.places(family)
        if family.alone and seen:
            joined = Products.seen(seen[0][2])
            for _, _, moments in seen[1:]:
                joined = joined + Products.seen(moments)
            return [(seen[0][0], seen[0][1], joined)]
        return [(axes, shape, Products.seen(moments)) for axes, shape, moments in seen]

    def _transport(self, family: Family, products: Products) -> None:
        group = family.groups[0]
        costs = blocks_of(family, products.cost(self.method.cost).cpu().numpy())
        masses = [
            _masses(squares.cpu().numpy(), self.method.marginals).reshape(group.blocks, group.size)
            for squares in (products.squares_a, products.squares_b)
        ]
        solved = [self._solve(cost, mu, nu) for cost, mu, nu in zip(costs, *masses, strict=True)]
        coupling = Coupling(np.stack(solved))
        chosen = coupling.rounded(group)
        self.permutation[group.name] = chosen
        self.couplings[group.name] = coupling
        rows = np.arange(group.size)
        hard = np.mean([cost[rows, row] for cost, row in zip(costs, chosen.reshape(costs.shape[:2]), strict=True)])
        soft = (coupling.plan * costs).sum() / max(coupling.plan.sum(), 1e-300)
        self.costs.append((float(soft) * group.units, float(hard) * group.units))

    def _solve(self, cost: NDArray, mu: NDArray, nu: NDArray) -> NDArray[np.float64]:
        plan, note = solve(self.method, cost, mu / mu.sum(), nu / nu.sum())
        if note:
            self.notes[note] = None
        return plan

    def result(self) -> AlignmentResult:
        """Return what was found, and how it ended."""
        soft, hard = (sum(pair[end] for pair in self.costs) / max(1, self.spec.units) for end in (0, 1))
        couplings = self.couplings if self.method.soft else {}
        unsettled = bool(self.notes)
        words = [] if not self.couplings else [f"{100 * self._hardness():.0f}% of the plan on its permutation"]
        return AlignmentResult(
            self.method.reference,
            self.spec,
            self.permutation,
            objective=-hard,
            objective_name="minus the mean cost of matched units",
            trace=tuple(-pair[1] for pair in self.costs),
            converged=not unsettled,
            message="; ".join([*words, *self.notes]) or "one to one",
            restarts=(-hard,),
            seconds=self.seconds,
            seed=self.method.seed,
            citation=self.method.citation,
            couplings=couplings,
            rounding_loss=hard - soft,
            roles=self.roles,
        )

    def _hardness(self) -> float:
        return float(np.mean([coupling.hardness for coupling in self.couplings.values()]))


class _Timed:
    """Adds the time that a block takes to a phase."""

    def __init__(self, seconds: dict[str, float], phase: str) -> None:
        self._seconds, self._phase = seconds, phase

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._phase] += time.perf_counter() - self._start


def _masses(squares: NDArray[np.float64], marginals: str) -> NDArray[np.float64]:
    """Return the mass of every unit; one that is all zeros keeps a little, so that every place is filled."""
    if marginals == "uniform" or not squares.max() > 0:
        return np.ones_like(squares)
    norms = np.sqrt(squares)
    return np.maximum(norms, 1e-6 * norms.max())


_EMD_ITERATIONS = 10_000_000


def solve(
    method: OptimalTransport, cost: NDArray[np.float64], mu: NDArray[np.float64], nu: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    """Solve one transport problem; return the plan and what has to be said about it."""
    import ot

    scale = float(cost.std() if method.solver == "sinkhorn" else cost.mean()) or 1.0
    cost = np.ascontiguousarray(cost / scale)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if method.solver == "emd":
            plan, log = ot.emd(mu, nu, cost, numItermax=_EMD_ITERATIONS, log=True)
            said = [] if log["result_code"] == 1 else [f"emd: {log['warning']}"]
        elif method.solver == "sinkhorn":
            plan = ot.sinkhorn(mu, nu, cost, method.reg, method="sinkhorn_log", numItermax=5000, stopThr=1e-9)
        else:
            plan = ot.unbalanced.mm_unbalanced(mu, nu, cost, method.slack, div="kl", numItermax=5000)
    plan = np.asarray(plan, dtype=np.float64)
    if not np.isfinite(plan).all() or not plan.sum() > 0:
        return np.outer(mu, nu), f"{method.solver} gave no plan: the product of the marginals stands for it"
    return plan, _said(method.solver, said)


def _said(solver: str, said: Sequence) -> str:
    return f"{solver} did not converge" if said else ""
