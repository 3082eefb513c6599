"""What an alignment gives back: the permutation, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lmc._types import Permutation, StateDict
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True, eq=False, repr=False)
class AlignmentResult:
    """Permutation of B's units that brings B as close to A as the method got.

    Parameters
    ----------
    method : str
        Reference of the method, with its settings.
    spec : PermutationSpec
        What the permutation is of.
    permutation : mapping of str to array of int, shape (size,)
        Group name to index vector, ``new[i] = old[perm[i]]``.
    objective : float
        What the method maximises, in float64, at the permutation; NaN where it has none.
    objective_name : str
        What that number is.
    trace : tuple of float
        The objective after each sweep or step of the best restart.
    converged : bool
        Whether the method stopped because nothing improved any more.
    message : str
        How it ended, in one sentence.
    restarts : tuple of float
        Final objective of every restart.
    seconds : mapping of str to float
        Time by phase.
    seed : int
        Seed of everything drawn.
    citation : str
        BibTeX of the method's paper.
    """

    method: str
    spec: PermutationSpec
    permutation: Permutation
    objective: float = float("nan")
    objective_name: str = ""
    trace: tuple[float, ...] = ()
    converged: bool = True
    message: str = ""
    restarts: tuple[float, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    citation: str = ""

    def __repr__(self) -> str:
        """Say what was found and how it ended."""
        return f"AlignmentResult({self.method}: {self.objective_name} {self.objective:.6g}, {self.message})"

    def apply(self, state: StateDict) -> dict[str, Tensor]:
        """Return B's state dict aligned to A; B is left as it is."""
        return self.spec.apply(state, self.permutation)
