"""The one thing every alignment method is: settings, and a way to align two state dicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import nn

from lmc._errors import MismatchError, UsageError
from lmc._types import StateDict
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec
from lmc.symmetry.widths import unequal_group


def check_seed(seed: int) -> None:
    """Raise UsageError for what numpy's generators would refuse later."""
    if not isinstance(seed, int) or seed < 0:
        raise UsageError(f"A seed is a whole number from 0 up, not {seed!r}.")


Needs = Literal["none", "module", "data"]


class AbstractAlignment(ABC):
    """A method that aligns B to A; a subclass is final and holds settings only."""

    citation: ClassVar[str] = ""
    """BibTeX of the paper the method comes from."""

    widths_may_differ: ClassVar[bool] = False
    """Whether B may have other numbers of units than A: :meth:`align_widths` is there then."""

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

    def align_widths(
        self,
        a: StateDict,
        b: StateDict,
        specs: tuple[PermutationSpec, PermutationSpec],
        data: AbstractData | None = None,
        *,
        modules: tuple[nn.Module | None, nn.Module | None] = (None, None),
    ) -> AlignmentResult:
        """Align a B of other widths to A.

        Parameters
        ----------
        a, b : mapping of str to Tensor
            As for :meth:`align`, B of its own widths.
        specs : tuple of PermutationSpec
            A's and B's, the same groups in other sizes.
        data : AbstractData, optional
            As for :meth:`align`.
        modules : tuple of nn.Module
            A's network and B's, for methods that run them.

        Raises
        ------
        MismatchError
            If the method permutes, which takes as many units as places.
        """
        raise MismatchError(
            f"{other_widths(*specs)}: {type(self).__name__} finds no plan between them. {OTHER_WIDTHS_FIX}"
        )


OTHER_WIDTHS_FIX = "Transport them (method='ot', --align ot), or fuse the networks (lmc.fuse, lmc fuse)."
"""What is left to do between other widths."""


def other_widths(spec: PermutationSpec, other: PermutationSpec) -> str:
    """Name the first group whose size differs, and both sizes."""
    name, places, units = unequal_group(spec, other) or ("", 0, 0)
    return f"Group {name!r} has {places} units in A and {units} in B"
