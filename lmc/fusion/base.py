"""The one thing every fusion method is: settings, and a way to make one network of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from lmc.alignment.base import Needs
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult


class AbstractFusion(ABC):
    """A method that fuses networks; a subclass is final and holds settings only."""

    citation: ClassVar[str] = ""
    """BibTeX of the paper the method comes from."""

    widths_may_differ: ClassVar[bool] = False
    """Whether networks of different widths can be fused, and into another width than theirs."""

    needs_base: ClassVar[bool] = False
    """Whether the networks have to be fine-tuned from one, which is then given."""

    @property
    def heads_may_differ(self) -> bool:
        """Whether that holds for heads as well, their number and what lies in them."""
        return False

    @property
    def needs(self) -> Needs:
        """What the method cannot do without, beside weights: ``none``, ``module``, or ``data`` (and the modules)."""
        return "none"

    @property
    @abstractmethod
    def reference(self) -> str:
        """How to ask for it again: ``wb?on=weights``."""

    @abstractmethod
    def fuse(self, problem: Problem) -> FusionResult:
        """Fuse the networks of a problem, which is checked and never modified."""
