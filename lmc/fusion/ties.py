"""TIES: task vectors trimmed, their signs elected, and the mean of those that agree added to the base."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lmc._types import StateDict
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_range, reference_of
from lmc.fusion.states import combined, weighted_sum
from lmc.fusion.task_arithmetic import is_buffer


@dataclass(frozen=True)
class Ties(AbstractFusion):
    r"""Trim, elect signs, merge.

    Of each network's difference from the base, :math:`\tau_i`, only the largest entries in absolute value stay. The
    sign of an entry is that of :math:`\sum_i \lambda_i \tau_i`; the mean, with shares, is over the networks whose entry
    has this sign. Buffers, such as running statistics, are averaged.

    Parameters
    ----------
    density : float, in (0, 1]
        Share of the entries of each task vector that stay, over all parameters together.
    scaling : float
        Factor on the merged task vector.

    References
    ----------
    .. [1] Yadav et al. TIES-Merging: Resolving Interference When Merging Models. NeurIPS 2023.
    """

    density: float = 0.2
    scaling: float = 1.0

    citation: ClassVar[str] = (
        "@inproceedings{yadav2023ties,\n"
        "  title = {TIES-Merging: Resolving Interference When Merging Models},\n"
        "  author = {Yadav, Prateek and Tam, Derek and Choshen, Leshem and Raffel, Colin and Bansal, Mohit},\n"
        "  booktitle = {Advances in Neural Information Processing Systems},\n"
        "  year = {2023}\n"
        "}"
    )
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("ties", "density", self.density, 1e-9, 1)
        check_range("ties", "scaling", self.scaling, 0)

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("ties", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Merge what the networks of a problem learned."""
        start = time.perf_counter()
        assert problem.base is not None
        least = [self._threshold(problem, problem.base, state) for state in problem.states]
        agreed = torch.zeros(2, dtype=torch.float64)

        def rule(name: str, values: list[Tensor]) -> Tensor:
            *tuned, base = values
            if is_buffer(problem, name):
                return weighted_sum(tuned, problem.mix)
            vectors = [_trimmed(value - base, low) for value, low in zip(tuned, least, strict=True)]
            merged, kept, trimmed = elected_mean(vectors, problem.mix)
            agreed.add_(torch.tensor([kept, trimmed], dtype=torch.float64))
            return base + self.scaling * merged

        state = combined((*problem.states, problem.base), rule)
        share = float(agreed[0] / agreed[1]) if agreed[1] else 1.0
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            message=f"{100 * share:.0f}% of the entries that stayed have the elected sign",
            seconds={"total": time.perf_counter() - start},
            seed=problem.seed,
            citation=self.citation,
        )

    def _threshold(self, problem: Problem, base: StateDict, state: StateDict) -> float:
        """Return the absolute value from which on entries of a network's task vector stay."""
        sizes: list[Tensor] = []

        def gather(name: str, values: list[Tensor]) -> Tensor:
            if not is_buffer(problem, name):
                sizes.append((values[1] - values[0]).abs().flatten())
            return values[0]

        combined((state, base), gather)
        entries = torch.cat(sizes)
        kept = max(1, round(self.density * entries.numel()))
        return float(entries.kthvalue(entries.numel() - kept + 1).values)


def _trimmed(vector: Tensor, least: float) -> Tensor:
    return torch.where(vector.abs() >= least, vector, torch.zeros_like(vector))


def elected_mean(vectors: list[Tensor], mix: tuple[float, ...]) -> tuple[Tensor, int, int]:
    """Return the mean over the entries that have the elected sign, how many these are, and of how many.

    Parameters
    ----------
    vectors : list of Tensor, shape (...)
        Trimmed task vectors, 0 where trimmed.
    mix : tuple of float
        Shares.
    """
    sign = weighted_sum(vectors, mix).sign()
    total, weight = torch.zeros_like(sign), torch.zeros_like(sign)
    kept = stayed = 0
    for vector, share in zip(vectors, mix, strict=True):
        agrees = ((vector.sign() == sign) & (vector != 0)).to(sign)
        total += share * vector * agrees
        weight += share * agrees
        kept, stayed = kept + int(agrees.sum()), stayed + int((vector != 0).sum())
    return torch.where(weight > 0, total / weight.clamp(min=1e-300), torch.zeros_like(total)), kept, stayed
