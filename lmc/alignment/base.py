"""The one thing every alignment method is: settings, and a way to align two state dicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


def check_seed(seed: int) -> None:
    """Raise UsageError for what numpy's generators would refuse later."""
    if not isinstance(seed, int) or seed < 0:
        raise UsageError(f"A seed is a whole number from 0 up, not {seed!r}.")


Needs = Literal["none", "module", "data"]


class AbstractAlignment(ABC):
    """A method that aligns B to A; a subclass is final and holds settings only."""

    citation: ClassVar[str] = ""
    """BibTeX of the paper the method comes from."""

    @property
    def needs(self) -> Needs:
        """What the method cannot do without, beside weights: ``none``, ``module``, or ``data`` (and the module)."""
        return "none"

    def continued(self) -> AbstractAlignment:
        """Return the method as it is run after another one in a composition: from where that has put B."""
        return self

    @abstractmethod
    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Align B to A.

        Parameters
        ----------
        a, b : mapping of str to Tensor
            Checked to be of the spec's architecture and finite; never modified.
        spec : PermutationSpec
            What may be permuted.
        data : AbstractData, optional
            Examples, for methods that need them: raw, their normalisation is still to be applied.
        module : nn.Module, optional
            The network, for methods that run it; its own weights do not matter, and it is left as it is.
        """
