"""The vanilla average: parameters as they are, units not matched; the baseline of every fusion table."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.states import weighted_mean


@dataclass(frozen=True)
class VanillaAverage(AbstractFusion):
    r"""Average parameters, each network with its share.

    .. math:: \theta = \sum_i \lambda_i \theta_i
    """

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return "vanilla"

    def fuse(self, problem: Problem) -> FusionResult:
        """Average the networks of a problem."""
        start = time.perf_counter()
        state = weighted_mean(problem.states, problem.mix)
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            message="units as they were",
            seconds={"total": time.perf_counter() - start},
            seed=problem.seed,
        )
