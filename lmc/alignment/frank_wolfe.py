"""Frank-Wolfe over soft permutations (C2M3): all groups, and all models, move at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, check_seed
from lmc.alignment.relaxed_inner import RelaxedInner, between
from lmc.alignment.result import AlignmentResult
from lmc.alignment.settings import check_at_least
from lmc.alignment.soft import Soft, barycenter, matrices, nearest
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class FrankWolfe(AbstractAlignment):
    r"""Match units by their weights, all groups at once, without data.

    .. math:: \max_P \sum_{\text{parameters}} \langle A, P(B) \rangle, \qquad P \text{ doubly stochastic}

    Each step linearises the whole objective, solves one assignment for every block of every group, and goes as far
    towards these as is best: along that line the objective is a polynomial, so that the best length is exact. It ends
    where no permutation improves the linearised objective, and is rounded to the nearest permutation.

    Parameters
    ----------
    restarts : int
        Starts tried: the mean of all permutations first, then points half-way from it to random ones.
    steps : int
        Most steps from one start.
    tolerance : float
        Gap, relative to the objective, below which it has converged.
    seed : int
        Of the random starts.

    References
    ----------
    .. [1] Crisostomi et al. C2M3: Cycle-Consistent Multi-Model Merging. NeurIPS 2024, Alg. 1.
    .. [2] M. Frank, P. Wolfe. An algorithm for quadratic programming. Naval Research Logistics Quarterly 1956.
    """

    restarts: int = 4
    steps: int = 100
    tolerance: float = 1e-6
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{crisostomi2024c2m3,
  title = {{C2M3}: Cycle-Consistent Multi-Model Merging},
  author = {Crisostomi, Donato and Fumero, Marco and Baieri, Daniele and Bernard, Florian and Rodol{\\`a}, Emanuele},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}"""

    def __post_init__(self) -> None:
        check_at_least("frank-wolfe", self, restarts=1, steps=1)
        if not self.tolerance >= 0:
            raise UsageError(f"frank-wolfe: tolerance must be 0 or more, got {self.tolerance!r}.")
        check_seed(self.seed)

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Run every restart and keep the best rounded permutation."""
        start = time.perf_counter()
        runs, best = self.solve((a, b), spec)
        return AlignmentResult(
            f"frank-wolfe?restarts={self.restarts}&steps={self.steps}&tolerance={self.tolerance:g}&seed={self.seed}",
            spec,
            best.permutations[0],
            objective=best.objective,
            objective_name="inner product of A's and aligned B's parameters",
            trace=best.trace,
            converged=best.converged,
            message=best.message(len(runs), self.steps),
            restarts=tuple(run.objective for run in runs),
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )

    def solve(self, states: Sequence[StateDict], spec: PermutationSpec) -> tuple[list[Ascent], Ascent]:
        """Align any number of models to the first, all pairs counting; return every restart and the best."""
        objective = RelaxedInner(states, spec)
        runs = [self._ascend(objective, self._start(objective, restart)) for restart in range(self.restarts)]
        return runs, max(runs, key=lambda run: run.objective)

    def _start(self, objective: RelaxedInner, restart: int) -> list[Soft]:
        rng = np.random.default_rng((self.seed, restart))
        middle = barycenter(objective.spec, objective.like)
        if restart == 0:
            return [middle] * len(objective.moving)
        drawn = (objective.spec.random(int(rng.integers(2**31))) for _ in objective.moving)
        return [between(middle, matrices(objective.spec, one, objective.like), 0.5) for one in drawn]

    def _ascend(self, objective: RelaxedInner, softs: Sequence[Soft]) -> Ascent:
        trace = []
        converged = False
        for _ in range(self.steps):
            value, slopes = objective.slope(softs)
            trace.append(value)
            ends = [matrices(objective.spec, nearest(objective.spec, slope), objective.like) for slope in slopes]
            gap = sum(_gap(slope, soft, end) for slope, soft, end in zip(slopes, softs, ends, strict=True))
            step, _ = objective.best_step(softs, ends) if gap > self.tolerance * abs(value) else (0.0, value)
            converged = step == 0
            if converged:
                break
            softs = [between(soft, end, step) for soft, end in zip(softs, ends, strict=True)]
        permutations = [nearest(objective.spec, soft) for soft in softs]
        with torch.no_grad():
            relaxed = float(objective(softs))
        return Ascent(permutations, objective.at(permutations), relaxed, tuple(trace), converged)


@dataclass(frozen=True)
class Ascent:
    """What one start came to.

    Parameters
    ----------
    permutations : sequence of mapping
        One for each model but the first.
    objective, relaxed : float
        At the permutations, and before rounding.
    trace : tuple of float
        The relaxed objective before each step.
    converged : bool
        Whether no permutation improved the linearised objective.
    """

    permutations: Sequence[Mapping[str, NDArray[np.int64]]]
    objective: float
    relaxed: float
    trace: tuple[float, ...]
    converged: bool

    def message(self, restarts: int, steps: int) -> str:
        """Say how it ended."""
        kept = f"best of {restarts} restarts" if restarts > 1 else f"{len(self.trace)} steps"
        lost = self.relaxed - self.objective
        rounding = f", {lost:.3g} lost by rounding" if abs(lost) > 1e-6 * abs(self.relaxed) else ""
        return f"{kept}{rounding}" if self.converged else f"{kept}{rounding}, not converged after {steps} steps"


def _gap(slope: Soft, soft: Soft, end: Soft) -> float:
    return sum(float((one * (end[name] - soft[name])).sum()) for name, one in slope.items())
