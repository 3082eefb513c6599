"""What an alignment gives back: the permutation, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lmc._errors import UsageError
from lmc._types import Permutation, StateDict
from lmc.alignment.coupling import Coupling, apply_soft
from lmc.alignment.transport import transport_soft
from lmc.symmetry import PermutationSpec
from lmc.symmetry.sites import Roles
from lmc.symmetry.widths import unequal_group


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
    couplings : mapping of str to Coupling
        Soft plans of groups, where they were asked for or widths differ; the permutation is what they are rounded to.
    rounding_loss : float
        How much worse the objective is at the permutation than at the plan; negative where it is better, since an
        entropic plan spreads its mass over costly pairs.
    roles : Roles, optional
        Which axes make units and which read them: what applying a plan takes.
    source : PermutationSpec, optional
        B's own groups where its widths are others than A's: there are plans then, from A's places to B's units, and no
        permutation but of groups of one size.
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
    couplings: Mapping[str, Coupling] = field(default_factory=dict)
    rounding_loss: float = 0.0
    roles: Roles | None = None
    source: PermutationSpec | None = None

    def __repr__(self) -> str:
        """Say what was found and how it ended."""
        return f"AlignmentResult({self.method}: {self.objective_name} {self.objective:.6g}, {self.message})"

    @property
    def soft(self) -> bool:
        """Whether there is a plan to apply beside its permutation."""
        return bool(self.couplings)

    @property
    def hard(self) -> bool:
        """Whether there is a permutation; between other widths there is none."""
        return self.source is None

    def apply(self, state: StateDict) -> dict[str, Tensor]:
        """Return B's state dict aligned to A; B is left as it is.

        Raises
        ------
        UsageError
            If B's widths are others than A's.
        """
        if self.source is not None:
            name, places, units = unequal_group(self.spec, self.source) or ("", 0, 0)
            raise UsageError(
                f"Group {name!r} has {places} units in A and {units} in B: there is no permutation between them. Take "
                "B along the plans: result.apply_soft(b)."
            )
        return self.spec.apply(state, self.permutation)

    def apply_soft(self, state: StateDict) -> dict[str, Tensor]:
        """Return B's state dict moved along the plan itself, in A's shapes: in general another function than B's.

        Raises
        ------
        UsageError
            If the method found no plan.
        """
        if self.roles is None or not self.couplings:
            raise UsageError(f"{self.method} found a permutation, no soft plan: ask for 'ot?soft=true', say.")
        if self.source is not None:
            return transport_soft(state, self.source, self.spec, self.couplings, self.permutation, self.roles)
        return apply_soft(self.spec, state, self.couplings, self.permutation, self.roles)
