"""Weight matching (Git Re-Basin): coordinate descent over permutation groups, each step a linear assignment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import Permutation, StateDict
from lmc.alignment.base import AbstractAlignment, check_seed
from lmc.alignment.descent import Descent, Run
from lmc.alignment.pair_worths import Problem
from lmc.alignment.pair_worths import inner as inner
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import Axis, PermutationGroup, PermutationSpec


@dataclass(frozen=True)
class WeightMatching(AbstractAlignment):
    r"""Match units by their weights, without data.

    .. math:: \max_P \sum_{\text{parameters}} \langle A, P(B) \rangle

    One group at a time is optimised exactly, the others held: a linear assignment on the sum of the Gram matrices of
    all its axes; heads together with what lies inside them. Start and order of the groups decide which of many local
    optima is reached, so several are tried and the best objective is kept.

    Parameters
    ----------
    restarts : int
        Random orders tried: the first starts from B as it is, every second of the others from a random permutation.
    sweeps : int
        Most passes over all groups in one restart.
    seed : int
        Seed of the orders.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023, Alg. 1.
    """

    restarts: int = 8
    sweeps: int = 100
    seed: int = 0

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
        """Run every restart and keep the best."""
        start = time.perf_counter()
        problem = Problem(a, b, spec)
        # A single group that meets only frozen axes is optimised exactly in one step: restarts would repeat it.
        single = len(spec.groups) == 1 and not problem.entangled(spec.groups[0].name)
        runs = [self._restart(problem, restart) for restart in range(1 if single else self.restarts)]
        best = max(runs, key=lambda run: run.trace[-1])
        objectives = tuple(run.trace[-1] for run in runs)
        return AlignmentResult(
            f"weights?restarts={self.restarts}&sweeps={self.sweeps}&seed={self.seed}",
            spec,
            best.permutation,
            objective=best.trace[-1],
            objective_name="inner product of A's and aligned B's parameters",
            trace=best.trace,
            converged=best.converged,
            message=_message(best, objectives, self.sweeps),
            restarts=objectives,
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )

    def _restart(self, problem: Problem, restart: int) -> Run:
        import os
        modes = os.environ.get("MODES", "isrj")
        mode = modes[restart % len(modes)]
        rng = np.random.default_rng((self.seed, restart))
        start = problem.spec.random(int(rng.integers(2**31))) if mode == "r" else None
        descent = Descent(problem, start)
        def order(names): return list(map(str, rng.permutation(names)))
        if mode in "ij":
            descent.inward(None if mode == "i" else order)
        return descent.run(order, self.sweeps)


def _message(best: Run, objectives: tuple[float, ...], sweeps: int) -> str:
    kept = f"best of {len(objectives)} restarts" if len(objectives) > 1 else f"{len(best.trace) - 1} sweeps"
    return kept if best.converged else f"{kept}, not converged after {sweeps} sweeps"


