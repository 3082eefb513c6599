"""The permutation that a barycenter of two networks implies, as a way to align: ``lmc barrier a b --align wb``."""

from __future__ import annotations

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
from lmc.fusion.wasserstein import WassersteinBarycenter
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class BarycenterAlignment(AbstractAlignment):
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
    sides: Literal["incoming", "both"] = "incoming"
    sweeps: int = 10
    examples: int | None = 1000
    place: Literal["pre", "post"] = "pre"
    seed: int = 0

    citation: ClassVar[str] = WassersteinBarycenter.citation

    def __post_init__(self) -> None:
        _ = self._barycenter  # checks the settings

    @property
    def _barycenter(self) -> WassersteinBarycenter:
        return WassersteinBarycenter(
            on=self.on,
            solver=self.solver,
            reg=self.reg,
            start=self.start,
            starts=self.starts,
            iterations=self.iterations,
            sides=self.sides,
            sweeps=self.sweeps,
            examples=self.examples,
            place=self.place,
            seed=self.seed,
        )

    @property
    def needs(self) -> Needs:
        """Examples where units are compared by their activations."""
        return self._barycenter.needs

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
        return implied(self._barycenter, a, b, spec, data, module)


def implied(
    barycenter: AbstractFusion,
    a: StateDict,
    b: StateDict,
    spec: PermutationSpec,
    data: AbstractData | None,
    module: nn.Module | None,
) -> AlignmentResult:
    """Fuse A and B in equal shares, and round: B goes through the fused network's order into A's."""
    modules = () if module is None else (module, module)
    looked_at = data if barycenter.needs == "data" else None  # statistics of the fused network are of no use here
    found = barycenter.fuse(Problem((a, b), (spec, spec), spec, (0.5, 0.5), looked_at, modules))
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
        citation=barycenter.citation,
        rounding_loss=found.rounding_loss,
    )
