"""The permutation that a Gromov-Wasserstein barycenter of two networks implies: ``lmc barrier a b --align gwb``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.fusion.gromov_wasserstein_barycenter import GromovWassersteinBarycenter
from lmc.fusion.implied import implied
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class GromovBarycenterAlignment(AbstractAlignment):
    r"""Align B to A through their Gromov-Wasserstein barycenter, for layers that read themselves (RNN, LSTM, GRU).

    Parameters
    ----------
    alpha, on, reach, examples, starts, seed
        As in :class:`lmc.GromovWassersteinBarycenter`.

    References
    ----------
    .. [1] Akash, Li, Trillos. Wasserstein Barycenter-based Model Fusion and Linear Mode Connectivity of Neural
       Networks. 2022, Sec. 4.
    """

    alpha: float | Literal["auto"] = "auto"
    on: Literal["weights", "activations"] = "weights"
    reach: Literal["incoming", "both"] = "both"
    examples: int | None = 1000
    starts: int = 8
    seed: int = 0

    citation: ClassVar[str] = GromovWassersteinBarycenter.citation

    def __post_init__(self) -> None:
        _ = self._barycenter  # checks the settings

    @property
    def _barycenter(self) -> GromovWassersteinBarycenter:
        return GromovWassersteinBarycenter(
            alpha=self.alpha,
            on=self.on,
            reach=self.reach,
            examples=self.examples,
            starts=self.starts,
            seed=self.seed,
        )

    @property
    def needs(self) -> Needs:
        """Examples where units are compared by their hidden states."""
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
