"""The permutation that a barycenter of two networks implies, as a way to align: ``lmc barrier a b --align wb``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.fusion.base import AbstractFusion
from lmc.fusion.couple import Solver
from lmc.fusion.problem import Problem
from lmc.fusion.settings import taken_over
from lmc.fusion.wasserstein import WassersteinBarycenter
from lmc.symmetry import PermutationSpec


class AbstractImplied(AbstractAlignment):
    """Align B to A through a fused network: B goes through the fused network's order into A's."""

    def __post_init__(self) -> None:
        _ = self.fusion  # checks the settings

    @property
    @abstractmethod
    def fusion(self) -> AbstractFusion:
        """The method that fuses, one that finds couplings."""

    @property
    def needs(self) -> Needs:
        """What the fusion needs."""
        return self.fusion.needs

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Fuse A and B in equal shares, and round."""
        modules = () if module is None else (module, module)
        looked_at = data if self.needs == "data" else None  # statistics of the fused network are of no use here
        found = self.fusion.fuse(Problem((a, b), (spec, spec), spec, (0.5, 0.5), looked_at, modules))
        permutation = spec.compose(found.permutation(1), spec.inverse(found.permutation(0)))
        return AlignmentResult(
            found.method,
            spec,
            permutation,
            objective=-found.objective,
            objective_name=f"minus the {found.objective_name}",
            trace=tuple(-value for value in found.trace),
            converged=found.converged,
            message=found.message,
            restarts=(-found.objective,),
            seconds=found.seconds,
            seed=found.seed,
            citation=self.citation,
            rounding_loss=found.rounding_loss,
        )


@dataclass(frozen=True)
class BarycenterAlignment(AbstractImplied):
    r"""Align B to A through their Wasserstein barycenter.

    Both networks' couplings to the fused one are rounded to permutations, and B goes through the fused network's order
    into A's. What rounding costs is reported: with exact plans between equal widths, nothing.

    Parameters
    ----------
    on, solver, reg, start, starts, iterations, sides, sweeps, examples, place, seed
        As in :class:`lmc.WassersteinBarycenter`.

    References
    ----------
    .. [1] Akash, Li, Trillos. Wasserstein Barycenter-based Model Fusion and Linear Mode Connectivity of Neural
       Networks. 2022, Sec. 4.
    """

    on: Literal["weights", "activations"] = "weights"
    solver: Solver = "emd"
    reg: float = 0.1
    start: Literal["first", "random"] | int = "first"
    starts: int = 1
    iterations: int = 100
    sides: Literal["incoming", "both"] = "both"
    sweeps: int = 10
    examples: int | None = 1000
    place: Literal["pre", "post"] = "pre"
    seed: int = 0

    citation: ClassVar[str] = WassersteinBarycenter.citation

    @property
    def fusion(self) -> WassersteinBarycenter:
        """The barycenter, set alike."""
        return taken_over(WassersteinBarycenter, self)
