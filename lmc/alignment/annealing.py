"""Simulated annealing (Entezari et al.): random swaps of two units, judged by the loss at the midpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.midpoint import Between, require_data, widened
from lmc.alignment.result import AlignmentResult
from lmc.alignment.settings import check_at_least
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class SimulatedAnnealing(AbstractAlignment):
    r"""Search by swapping two units at a time, for small networks.

    .. math:: \Pr[\text{swap}] = \min\big(1, e^{-\Delta \mathcal{L} / T}\big)

    The energy is the loss half-way between A and B on fixed training examples. The temperature starts at what random
    swaps change on average and falls geometrically to a thousandth of that. The best permutation met is returned.

    Parameters
    ----------
    steps : int
        Swaps tried.
    temperature : float
        Of the start, relative to the mean change of a random swap.
    examples : int
        The first so many are what the loss is measured on.
    limit : int
        Most units; a search among more is hopeless, and refused.
    seed : int
        Of the swaps.

    References
    ----------
    .. [1] Entezari, Sedghi, Saukh, Neyshabur. The Role of Permutation Invariance in Linear Mode Connectivity of Neural
       Networks. ICLR 2022.
    """

    steps: int = 1500
    temperature: float = 0.3
    examples: int = 300
    limit: int = 1000
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{entezari2022role,
  title = {The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks},
  author = {Entezari, Rahim and Sedghi, Hanie and Saukh, Olga and Neyshabur, Behnam},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}"""

    def __post_init__(self) -> None:
        check_at_least("annealing", self, steps=1, examples=1, limit=1)
        if not self.temperature >= 0:
            raise UsageError(f"annealing: temperature must be 0 or more, got {self.temperature!r}.")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples for the loss, and the network."""
        return "data"

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Search, and keep the best permutation met."""
        start = time.perf_counter()
        known, network = require_data("annealing", data, module, a, b)
        if spec.units > self.limit:
            raise UsageError(
                f"annealing swaps two units at a time, and these networks have {spec.units:,} (limit={self.limit}). "
                f"Use 'sinkhorn', or write annealing?limit={spec.units} to wait for it."
            )
        between = Between(network, a, known, min(self.examples, 500), self.seed, self.examples)
        search = _Search(spec, between, widened(b), np.random.default_rng(self.seed))
        search.run(self.steps, self.temperature)
        taken = f"{search.accepted:,} of {self.steps:,} swaps taken"
        return AlignmentResult(
            f"annealing?steps={self.steps}&temperature={self.temperature:g}&examples={self.examples}&seed={self.seed}",
            spec,
            search.best,
            objective=search.lowest,
            objective_name=f"loss half-way between A and aligned B on {between.examples} training examples "
            "(lower is better)",
            trace=tuple(search.trace),
            # Cold, and all swaps of a quarter of the search refused or worth nothing: a minimum as far as was looked.
            converged=search.trace[-1] >= search.trace[-1 - len(search.trace) // 4],
            message=f"midpoint loss {search.lowest:.4g}, {taken}",
            restarts=(search.lowest,),
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )


_PROBES = 20
"""Random swaps that tell the scale of the temperature."""


class _Search:
    """Where the search is, the best it has met, and the lowest loss after each hundredth of it."""

    def __init__(self, spec: PermutationSpec, between: Between, b: dict[str, Tensor], rng: np.random.Generator) -> None:
        self._spec, self._between, self._rng = spec, between, rng
        self._shares = np.array([group.units for group in spec.groups], dtype=np.float64)
        self._names = {g.name: sorted({axis.param for axis in g.axes}) for g in spec.groups}
        self._second = {known: [name for name in b if spec.aliases.get(name) == known] for known in b}
        self.b = b
        self.now = spec.identity()
        self.best = self.now
        self.energy = self.lowest = between.loss(b)
        self.trace = [self.energy]
        self.accepted = 0

    def run(self, steps: int, temperature: float) -> None:
        """Try so many swaps."""
        if not self._spec.groups:
            return
        probes = [abs(self._between.loss(self._after(*self._draw())) - self.energy) for _ in range(_PROBES)]
        first = temperature * float(np.mean(probes))
        for step in range(steps):
            self._try(first * 1e-3 ** (step / steps))
            if (step + 1) % max(1, steps // 100) == 0:
                self.trace.append(self.lowest)

    def _draw(self) -> tuple[str, NDArray[np.int64]]:
        """Return a group and the permutation that swaps two units of one of its blocks."""
        group = self._spec.groups[self._rng.choice(len(self._shares), p=self._shares / self._shares.sum())]
        swap = group.identity().reshape(group.blocks, group.size)
        block = self._rng.integers(group.blocks)
        one, two = self._rng.choice(group.size, 2, replace=False)
        swap[block, [one, two]] = swap[block, [two, one]]
        return group.name, swap.reshape(group.shape)

    def _after(self, group: str, swap: NDArray[np.int64]) -> dict[str, Tensor]:
        moved = dict(self.b)
        for known in self._names[group]:
            moved[known] = self._spec.permute(known, self.b[known], {group: swap})
            moved |= dict.fromkeys(self._second[known], moved[known])
        return moved

    def _try(self, temperature: float) -> None:
        group, swap = self._draw()
        moved = self._after(group, swap)
        energy = self._between.loss(moved)
        rise = energy - self.energy
        if rise > 0 and not (temperature > 0 and self._rng.random() < np.exp(-rise / temperature)):
            return
        self.b, self.energy = moved, energy
        self.now = self._spec.compose(self.now, {group: swap})
        self.accepted += 1
        if energy < self.lowest:
            self.lowest, self.best = energy, self.now
