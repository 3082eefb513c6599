"""OTFusion: units of B are transported to the places of A's, layer by layer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.activation_matching import check_examples
from lmc.alignment.base import AbstractAlignment, Needs, check_seed, other_widths
from lmc.alignment.coupling import Coupling
from lmc.alignment.families import Family
from lmc.alignment.layerwise import Coupled, Walk
from lmc.alignment.result import AlignmentResult
from lmc.alignment.settings import check_choices
from lmc.alignment.unit_costs import Metric, Products, blocks_of
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class OptimalTransport(AbstractAlignment):
    r"""Transport units layer by layer, forward.

    .. math:: \pi_l = \arg\min_{\pi \in \Pi(\mu, \nu)} \sum_{ij} \pi_{ij} C_l(i, j)

    where the cost compares row i of A with row j of B, whose inputs have been moved by the layers before (weights), or
    what both units do on examples (activations). A stream that several layers add into is settled by the first of them.
    Heads are matched one to one, together with what lies inside them.

    B may have other widths than A. Its units are then carried to A's places along the plans, whatever ``soft`` says: a
    place is made of the units that go there, by their shares of its mass, and what was read of a unit is split among
    the places it goes to, by its own. Where one network holds every unit of the other several times, and reads as much
    of all copies together, its function is kept.

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
    reg: float = 0.1
    slack: float = 1.0
    examples: int | None = 200
    place: Literal["pre", "post"] = "pre"
    seed: int = 0

    widths_may_differ: ClassVar[bool] = True
    citation: ClassVar[str] = """@inproceedings{singh2020model,
  title = {Model Fusion via Optimal Transport},
  author = {Singh, Sidak Pal and Jaggi, Martin},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2020}
}"""

    def __post_init__(self) -> None:
        check_choices(
            "ot",
            self,
            on=("weights", "activations"),
            cost=("euclidean", "sqeuclidean", "cosine"),
            solver=("emd", "sinkhorn", "unbalanced"),
            marginals=("uniform", "l1", "l2"),
            place=("pre", "post"),
        )
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
        walk = Walk(a, b, spec, self._couple, cost=self.cost, soft=self.soft, seed=self.seed)
        if self.on == "activations":
            walk.look(data, module, self.place, self.examples)
        return walk.run().result(self.reference, "minus the mean cost of matched units", self.citation)

    def align_widths(
        self,
        a: StateDict,
        b: StateDict,
        specs: tuple[PermutationSpec, PermutationSpec],
        data: AbstractData | None = None,
        *,
        modules: tuple[nn.Module | None, nn.Module | None] = (None, None),
    ) -> AlignmentResult:
        """Walk through the layers, B's units carried to A's places."""
        walk = Walk(a, b, specs[0], self._couple, cost=self.cost, soft=True, seed=self.seed, spec_b=specs[1])
        if self.on == "activations":
            if modules[1] is None:
                wanted = "pass its network, module_b= (for lmc.barrier, B as a module)"
                raise UsageError(f"{other_widths(*specs)}: to run B on examples, {wanted}.")
            walk.look(data, modules[0], self.place, self.examples, module_b=modules[1])
        return walk.run().result(self.reference, "minus the mean cost of matched units", self.citation)

    def _couple(self, walk: Walk, family: Family, products: Products | None) -> Coupled | None:
        """Transport one group's units, block by block."""
        if products is None:
            return None
        group = family.groups[0]
        costs = blocks_of(family, products.cost(self.cost).cpu().numpy())
        mu, nu = (
            _masses(squares.cpu().numpy(), self.marginals).reshape(group.blocks, -1)
            for squares in (products.squares_a, products.squares_b)
        )
        solved = [
            solve(self, cost, one / one.sum(), two / two.sum()) for cost, one, two in zip(costs, mu, nu, strict=True)
        ]
        coupling = Coupling(np.stack([plan for plan, _ in solved]))
        soft = hard = float((coupling.plan * costs).sum() / coupling.plan.sum())
        if coupling.square:
            chosen = coupling.rounded(group).reshape(group.blocks, group.size)
            hard = float(np.take_along_axis(costs, chosen[..., None], axis=2).mean())
        return Coupled(coupling, soft, hard, tuple(note for _, note in solved if note))

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        parts = [f"on={self.on}", f"cost={self.cost}", f"solver={self.solver}", f"marginals={self.marginals}"]
        parts += [f"reg={self.reg}"] if self.solver == "sinkhorn" else []
        parts += [f"slack={self.slack}"] if self.solver == "unbalanced" else []
        parts += [f"examples={self.examples}", f"place={self.place}"] if self.on == "activations" else []
        return "ot?" + "&".join([*parts, *(["soft=true"] if self.soft else [])])


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
            plan = ot.sinkhorn(mu, nu, cost, method.reg, method="sinkhorn_log", numItermax=10_000, stopThr=1e-6)
        else:
            plan = ot.unbalanced.mm_unbalanced(mu, nu, cost, method.slack, div="kl", numItermax=5000)
    plan = np.asarray(plan, dtype=np.float64)
    if not np.isfinite(plan).all() or not plan.sum() > 0:
        return np.outer(mu, nu), f"{method.solver} gave no plan: the product of the marginals stands for it"
    return plan, _said(method.solver, said)


def _said(solver: str, said: Sequence) -> str:
    return f"{solver} did not converge" if said else ""
