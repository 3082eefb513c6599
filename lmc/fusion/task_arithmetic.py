"""Task arithmetic: what fine-tuning added to a common base, summed and added to it again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_range, reference_of
from lmc.fusion.states import combined, weighted_sum


@dataclass(frozen=True)
class TaskArithmetic(AbstractFusion):
    r"""Add the networks' differences from their common base.

    .. math:: \theta = \theta_0 + \alpha \, n \sum_i \lambda_i (\theta_i - \theta_0)

    With equal shares the sum is the paper's. Buffers, such as running statistics, are no directions: their mean is
    taken.

    Parameters
    ----------
    scaling : float
        :math:`\alpha`; 1/n with equal shares is the vanilla average, 0 the base. The paper tunes it on held-out data
        and finds 0.3 to 0.5 where it sums many.

    References
    ----------
    .. [1] Ilharco et al. Editing Models with Task Arithmetic. ICLR 2023.
    """

    scaling: float = 0.4

    citation: ClassVar[str] = (
        "@inproceedings{ilharco2023editing,\n"
        "  title = {Editing Models with Task Arithmetic},\n"
        "  author = {Ilharco, Gabriel and Ribeiro, Marco Tulio and Wortsman, Mitchell and Gururangan, Suchin and "
        "Schmidt, Ludwig and Hajishirzi, Hannaneh and Farhadi, Ali},\n"
        "  booktitle = {International Conference on Learning Representations},\n"
        "  year = {2023}\n"
        "}"
    )
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("task-arithmetic", "scaling", self.scaling, 0)

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("task-arithmetic", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Add up what the networks of a problem learned."""
        start = time.perf_counter()
        assert problem.base is not None
        factor, count = self.scaling, len(problem.states)

        def rule(name: str, values: list[Tensor]) -> Tensor:
            *tuned, base = values
            if is_buffer(problem, name):
                return weighted_sum(tuned, problem.mix)
            return base + factor * count * weighted_sum([value - base for value in tuned], problem.mix)

        state = combined((*problem.states, problem.base), rule)
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            message=f"{count} task vectors on their base",
            seconds={"total": time.perf_counter() - start},
            seed=problem.seed,
            citation=self.citation,
        )


def is_buffer(problem: Problem, name: str) -> bool:
    """Say whether a tensor is no parameter."""
    return problem.target.aliases.get(name, name) in problem.target.buffers
