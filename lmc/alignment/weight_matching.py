"""Weight matching (Git Re-Basin): coordinate descent over permutation groups, each step a linear assignment."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.descent import Descent, Order, Run
from lmc.alignment.pair_worths import Problem
from lmc.alignment.pair_worths import inner as inner
from lmc.alignment.result import AlignmentResult
from lmc.alignment.second_moments import weighed_inputs
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class WeightMatching(AbstractAlignment):
    r"""Match units by their weights, without data.

    .. math:: \max_P \sum_{\text{parameters}} \langle A, P(B) \rangle

    One group at a time is optimised exactly, the others held: a linear assignment on the sum of the Gram matrices of
    all its axes; heads together with what lies inside them. Start and order of the groups decide which of many local
    optima is reached, so several are tried and the best objective is kept:

    - inward, from nothing: each group is first placed by the weights whose other ends are known (fixed inputs and
      outputs, groups placed before it), the best known one next; what is not placed yet counts as the mean of all its
      permutations. With most other ends in unknown order, as in a residual stream, they would drown what is known;
    - B as it is, and random permutations, in turn.

    Parameters
    ----------
    restarts : int
        Starts tried: the inward one once, the others in turn.
    sweeps : int
        Most passes over all groups in one restart.
    order : str
        Of the groups in a sweep: ``random``, or ``forward`` or ``backward``, as in the forward pass or against it;
        then the first start places them in that order, too.
    start : str
        ``inward``, or ``same``: B as it is and random permutations only, in turn.
    seed : int
        Seed of orders and permutations.
    covariance : bool
        Weigh A's matrices by the second moments of their inputs in A [2]_, so that directions that no example uses do
        not count; needs data.
    examples : int
        How many of the data these moments are of, the first ones.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023, Alg. 1.
    .. [2] Ferbach, Goujaud, Gidel, Dieuleveut. Proving Linear Mode Connectivity of Neural Networks via Optimal
       Transport. AISTATS 2024.
    """

    restarts: int = 8
    sweeps: int = 100
    order: str = "random"
    start: str = "inward"
    seed: int = 0
    covariance: bool = False
    examples: int = 1000

    citation: ClassVar[str] = """@inproceedings{ainsworth2023git,
  title = {Git Re-Basin: Merging Models modulo Permutation Symmetries},
  author = {Ainsworth, Samuel K. and Hayase, Jonathan and Srinivasa, Siddhartha},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""

    def __post_init__(self) -> None:
        for name in ("restarts", "sweeps"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UsageError(f"weights: {name} must be a positive integer, got {getattr(self, name)!r}.")
        for name, known in (("order", ("random", "forward", "backward")), ("start", ("inward", "same"))):
            if getattr(self, name) not in known:
                raise unknown(f"weights: {name}", str(getattr(self, name)), known)
        check_seed(self.seed)
        if not isinstance(self.covariance, bool):
            raise UsageError(f"weights: covariance is true or false, got {self.covariance!r}.")
        if not isinstance(self.examples, int) or self.examples < 1:
            raise UsageError(f"weights: examples must be a positive integer, got {self.examples!r}.")

    @property
    def needs(self) -> Needs:
        """Data where inputs are weighed; else nothing but weights."""
        return "data" if self.covariance else "none"

    def continued(self) -> WeightMatching:
        """Start from B as it is, where another method has put it."""
        return replace(self, start="same")

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Run every restart and keep the best."""
        start = time.perf_counter()
        if self.covariance:
            assert data is not None and module is not None
            a = weighed_inputs(a, module, data, self.examples)
        problem = Problem(a, b, spec)
        # A single group that meets only frozen axes is optimised exactly in one step: restarts would repeat it.
        single = len(spec.groups) == 1 and not problem.entangled(spec.groups[0].name)
        runs = [self._restart(problem, restart) for restart in range(1 if single else self.restarts)]
        best = max(runs, key=lambda run: run.trace[-1])
        objectives = tuple(run.trace[-1] for run in runs)
        asked = {"order": (self.order, "random"), "start": (self.start, "inward")}
        options = "".join(f"&{name}={value}" for name, (value, default) in asked.items() if value != default)
        if self.covariance:
            options += f"&covariance=true&examples={self.examples}"
        weighed = ", A's weighed by the second moments of their inputs" if self.covariance else ""
        return AlignmentResult(
            f"weights?restarts={self.restarts}&sweeps={self.sweeps}{options}&seed={self.seed}",
            spec,
            best.permutation,
            objective=best.trace[-1],
            objective_name=f"inner product of A's and aligned B's parameters{weighed}",
            trace=best.trace,
            converged=best.converged,
            message=_message(best, objectives, self.sweeps),
            restarts=objectives,
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )

    def _restart(self, problem: Problem, restart: int) -> Run:
        rng = np.random.default_rng((self.seed, restart))
        start = self.start if restart == 0 else ("same", "random")[(restart - (self.start == "inward")) % 2]
        descent = Descent(problem, problem.spec.random(int(rng.integers(2**31))) if start == "random" else None)
        order = _orders(problem.spec, rng)[self.order]
        if start == "inward":
            descent.inward(None if self.order == "random" else order)
        return descent.run(order, self.sweeps)


def _orders(spec: PermutationSpec, rng: np.random.Generator) -> dict[str, Order]:
    forward = {group.name: place for place, group in enumerate(spec.groups)}
    return {
        "random": lambda names: list(map(str, rng.permutation(names))),
        "forward": lambda names: sorted(names, key=forward.__getitem__),
        "backward": lambda names: sorted(names, key=forward.__getitem__, reverse=True),
    }


def _message(best: Run, objectives: tuple[float, ...], sweeps: int) -> str:
    kept = f"best of {len(objectives)} restarts" if len(objectives) > 1 else f"{len(best.trace) - 1} sweeps"
    return kept if best.converged else f"{kept}, not converged after {sweeps} sweeps"
