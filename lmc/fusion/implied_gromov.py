"""The permutation that a Gromov-Wasserstein barycenter of two networks implies: ``lmc barrier a b --align gwb``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from lmc.fusion.gromov_wasserstein_barycenter import GromovWassersteinBarycenter
from lmc.fusion.implied import AbstractImplied
from lmc.fusion.settings import taken_over


@dataclass(frozen=True)
class GromovBarycenterAlignment(AbstractImplied):
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

    @property
    def fusion(self) -> GromovWassersteinBarycenter:
        """The barycenter, set alike."""
        return taken_over(GromovWassersteinBarycenter, self)
