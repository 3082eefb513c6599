"""No alignment: the control every other method is held against."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class Identity(AbstractAlignment):
    """Leave B as it is."""

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Return the permutation that moves nothing."""
        return AlignmentResult("none", spec, spec.identity(), message="B as it is")
