"""What a fusion gives back: the network, how it was made, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from lmc._errors import UsageError
from lmc._types import Permutation
from lmc.alignment.coupling import Coupling
from lmc.symmetry import PermutationSpec

Combine = Literal["logits", "probabilities"]


@dataclass(frozen=True, eq=False, repr=False)
class FusionResult:
    """One network made of several.

    Parameters
    ----------
    method : str
        Reference of the method, with its settings.
    state : dict of str to Tensor
        The fused network, ready to be loaded; empty for an ensemble, which is no single network.
    target : PermutationSpec
        What the state is of.
    mix : tuple of float
        Share of each network, as it was used.
    couplings : tuple of mapping of str to Coupling
        For each network, group name to its plan, shape (blocks, target units, the network's units), where there is one.
    objective : float
        What the method minimises, in float64, at its end; NaN where it has none.
    objective_name : str
        What that number is.
    trace : tuple of float
        The objective on the way.
    traces : mapping of str to tuple of float
        The objective of every group on the way, where groups are settled one after the other.
    rounding_loss : float
        How much worse the objective is once plans are rounded to permutations; 0 where they are, or widths differ.
    converged : bool
        Whether the method stopped because nothing improved any more.
    message : str
        How it ended, in one sentence.
    warnings : tuple of str
        What a reader of the result has to know.
    ratio : float
        Factor on the logits that the widths alone bring about, where it is known: 1 for the function-preserving
        read-out.
    combine : {"logits", "probabilities"}, optional
        For an ensemble, what is averaged.
    seconds : mapping of str to float
        Time by phase.
    seed : int
        Seed of everything drawn.
    citation : str
        BibTeX of the method's paper.
    """

    method: str
    state: dict[str, Tensor]
    target: PermutationSpec
    mix: tuple[float, ...]
    couplings: Sequence[Mapping[str, Coupling]] = ()
    objective: float = float("nan")
    objective_name: str = ""
    trace: tuple[float, ...] = ()
    traces: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rounding_loss: float = 0.0
    converged: bool = True
    message: str = ""
    warnings: tuple[str, ...] = ()
    ratio: float = 1.0
    combine: Combine | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    citation: str = ""

    def __repr__(self) -> str:
        """Say what was made of how many, and how it ended."""
        return f"FusionResult({self.method}: {len(self.mix)} networks, {self.message})"

    @property
    def widths(self) -> dict[str, int]:
        """Group name to the number of units of the fused network."""
        return {group.name: group.size for group in self.target.groups}

    def permutation(self, network: int) -> Permutation:
        """Return the permutation that a network's couplings are rounded to.

        Raises
        ------
        UsageError
            If the method found no couplings, or the network has other widths than the fused one.
        """
        if network >= len(self.couplings):
            raise UsageError(f"{self.method} found no couplings, so no permutation either: use 'wb' or 'ot'.")
        found = {}
        for name, coupling in self.couplings[network].items():
            if coupling.plan.shape[1] != coupling.plan.shape[2]:
                raise UsageError(f"Group {name!r} has {coupling.plan.shape[2]} units, fused {coupling.plan.shape[1]}.")
            found[name] = coupling.rounded(self.target[name])
        return found
