"""A random permutation: same function, no alignment; what a method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, check_seed
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class RandomPermutation(AbstractAlignment):
    """Permute B at random.

    Parameters
    ----------
    seed : int
        Seed of the draw.
    """

    seed: int = 0

    def __post_init__(self) -> None:
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
        """Return a permutation drawn uniformly from all of them."""
        permutation = spec.random(self.seed)
        return AlignmentResult(f"random?seed={self.seed}", spec, permutation, message="drawn at random", seed=self.seed)
