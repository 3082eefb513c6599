"""The vanilla average: parameters as they are, units not matched; the baseline of every fusion table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmc._types import StateDict
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult


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


def weighted_mean(states: Sequence[StateDict], mix: Sequence[float]) -> dict[str, Tensor]:
    """Return the mean of state dicts with shares, summed in float64, in the first one's dtypes; integers are its own.

    Names that share a tensor in the first state share one in the mean.
    """
    done: dict[int, Tensor] = {}
    mean = {}
    for name, first in states[0].items():
        key = first.data_ptr() or id(first)
        if key not in done:
            done[key] = first
            if first.is_floating_point():
                total = torch.zeros(first.shape, dtype=torch.float64, device=first.device)
                for share, state in zip(mix, states, strict=True):
                    total += share * state[name].to(total)
                done[key] = total.to(first.dtype)
        mean[name] = done[key]
    return mean
