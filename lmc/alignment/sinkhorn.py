"""Sinkhorn re-basin: permutations learned by gradient descent on a relaxation, rounded at the end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.log_sinkhorn import sinkhorn
from lmc.alignment.midpoint import Between, finite, require_data, widened
from lmc.alignment.result import AlignmentResult
from lmc.alignment.settings import check_at_least
from lmc.alignment.soft import matrices, moving_names, nearest, soft_apply
from lmc.alignment.weight_matching import WeightMatching
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class SinkhornRebasin(AbstractAlignment):
    r"""Learn the permutation by gradient descent on a loss between A and B.

    .. math:: \min_Z \; \mathcal{L}\big((1 - t) A + t \, P(B)\big), \qquad P = \mathrm{Sinkhorn}(Z / \tau)

    Every group has a matrix ``Z``; Sinkhorn's operator makes it doubly stochastic, so that the loss has a gradient.
    What is returned is the permutation nearest to ``Z`` (a linear assignment), the best on fixed training examples of
    those tried on the way, the start among them. The last part of the steps is taken at that permutation, with the
    gradient of the soft one: what is best between permutations need not be best when rounded. The paper starts from B
    as it is (``start="same"``); weight matching gives a better start at little cost, and the descent ends lower.

    Parameters
    ----------
    cost : {"midpoint", "random", "distance"}
        What falls: the loss of the network half-way between A and B; the loss at a position drawn anew in each step;
        or the squared distance of B's parameters from A's, which needs no data.
    steps : int
        Steps of Adam.
    lr : float
        Its learning rate; it falls linearly to a tenth over the last part.
    batch_size : int, optional
        Examples in a step; by default half of the data, at most 2000.
    temperature : float
        Smaller is nearer to permutations, and slower to change its mind.
    straight : float
        Share of the steps, at the end, that are taken at the rounded permutation; 0 is the method of the paper.
    start : {"weights", "same"}
        Where B is put first: by weight matching, or left as it is. After another method it is always left.
    noise : float
        Standard deviation of what is added to the identity that ``Z`` starts from.
    restarts : int
        Starts tried, each with noise of its own.
    examples : int
        The first so many decide which rounded permutation is kept.
    seed : int
        Of the noise and the order of the examples.

    References
    ----------
    .. [1] Peña et al. Re-basin via Implicit Sinkhorn Differentiation. CVPR 2023.
    """

    cost: str = "midpoint"
    steps: int = 300
    lr: float = 0.1
    batch_size: int | None = None
    temperature: float = 1.0
    straight: float = 0.5
    start: str = "weights"
    noise: float = 0.1
    restarts: int = 1
    examples: int = 5000
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{pena2023rebasin,
  title = {Re-basin via implicit Sinkhorn differentiation},
  author = {Pe{\\~n}a, Fidel A. Guerrero and Medeiros, Heitor Rapela and Dubail, Thomas and Aminbeidokhti, Masih and
    Granger, Eric and Pedersoli, Marco},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2023}
}"""

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise unknown("cost of sinkhorn", self.cost, COSTS)
        if self.start not in STARTS:
            raise unknown("start of sinkhorn", self.start, STARTS)
        check_at_least("sinkhorn", self, steps=1, restarts=1, examples=1)
        if self.batch_size is not None:
            check_at_least("sinkhorn", self, batch_size=1)
        for name in ("lr", "temperature"):
            if not getattr(self, name) > 0:
                raise UsageError(f"sinkhorn: {name} must be above 0, got {getattr(self, name)!r}.")
        if not 0 <= self.straight <= 1:
            raise UsageError(f"sinkhorn: straight is a share between 0 and 1, got {self.straight!r}.")
        if not self.noise >= 0:
            raise UsageError(f"sinkhorn: noise must be 0 or more, got {self.noise!r}.")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples and the network, but for the distance of the parameters."""
        return "none" if self.cost == "distance" else "data"

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Descend from every start and keep the best rounded permutation."""
        began = time.perf_counter()
        placed = self._placed(a, b, spec)
        b = spec.apply(b, placed)
        runs = [self._descend(a, widened(b), spec, data, module, restart) for restart in range(self.restarts)]
        best = min(runs, key=lambda run: run.best.hard)
        kept = best.best
        of = f"best of {len(runs)} restarts, " if len(runs) > 1 else ""
        message = f"{of}{best.unit} {kept.hard:.4g} rounded, {kept.soft:.4g} soft (gap {kept.hard - kept.soft:+.2g})"
        return AlignmentResult(
            f"sinkhorn?cost={self.cost}&steps={self.steps}&lr={self.lr:g}&batch_size={self._batch(data)}"
            f"&temperature={self.temperature:g}&straight={self.straight:g}&start={self.start}&noise={self.noise:g}"
            f"&restarts={self.restarts}&seed={self.seed}",
            spec,
            spec.compose(placed, kept.permutation),
            objective=kept.hard,
            objective_name=best.name,
            trace=tuple(check.hard for check in best.checks),
            converged=best.settled,
            message=message if best.settled else f"{message}, still falling after {self.steps} steps",
            restarts=tuple(run.best.hard for run in runs),
            seconds={"total": time.perf_counter() - began},
            seed=self.seed,
            citation=self.citation,
        )

    def continued(self) -> SinkhornRebasin:
        """Start from where another method has put B."""
        return replace(self, start="same")

    def _placed(self, a: StateDict, b: StateDict, spec: PermutationSpec) -> Mapping[str, NDArray[np.int64]]:
        """Return where B's units are put before the descent."""
        if self.start == "same":
            return spec.identity()
        return WeightMatching(seed=self.seed).align(a, b, spec).permutation

    def _descend(
        self,
        a: StateDict,
        b: dict[str, Tensor],
        spec: PermutationSpec,
        data: AbstractData | None,
        module: nn.Module | None,
        restart: int,
    ) -> _Run:
        generator = torch.Generator().manual_seed(int(np.random.default_rng((self.seed, restart)).integers(2**31)))
        cost = self._cost(a, b, spec, data, module, restart)
        relaxed = _Relaxed(spec, b, self.temperature, self.noise, generator)
        update = torch.optim.Adam(list(relaxed.logits.values()), lr=self.lr)
        checks = [_Check(spec.identity(), *(2 * [cost.score(b)]))]
        for step in range(self.steps):
            over = step / self.steps - (1 - self.straight)
            update.param_groups[0]["lr"] = self.lr * (1 - 0.9 * max(0.0, over) / max(self.straight, 1e-9))
            value = cost.value(relaxed.state(rounded=over >= 0 and self.straight > 0))
            finite(float(value.detach()))
            update.zero_grad()
            value.backward()
            update.step()
            if (step + 1) % _EVERY == 0 or step + 1 == self.steps:
                checks.append(relaxed.check(cost))
        return _Run(cost.name, cost.unit, checks)

    def _batch(self, data: AbstractData | None) -> int:
        """Return how many examples a step takes: fewer than all, so that steps differ; more than one, for BatchNorm."""
        size = None if data is None else data.size
        return self.batch_size or (_BATCH if size is None else min(_BATCH, max(2, (size + 1) // 2)))

    def _cost(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None,
        module: nn.Module | None,
        restart: int,
    ) -> AbstractCost:
        if self.cost == "distance":
            return Distance(a, spec)
        known, network = require_data("sinkhorn", data, module, a, b)
        between = Between(network, a, known, self._batch(known), self.seed + restart, self.examples)
        return AlongPath(between, self.cost == "random", self.seed + restart)


COSTS = ("midpoint", "random", "distance")
STARTS = ("weights", "same")
_BATCH = 2000
_EVERY = 20
"""Steps between two looks at the rounded permutation."""


class AbstractCost(ABC):
    """What falls: a value with a gradient for every step, and a score in float64 to compare permutations by."""

    name: str
    unit: str

    @abstractmethod
    def value(self, b: StateDict) -> Tensor:
        """Return what a step descends."""

    @abstractmethod
    def score(self, b: StateDict) -> float:
        """Return what is reported: always of the same examples."""


class Distance(AbstractCost):
    """Squared distance of B's parameters from A's, over those that some group moves."""

    name = "squared distance between A's and aligned B's parameters (lower is better)"
    unit = "squared distance"

    def __init__(self, a: StateDict, spec: PermutationSpec) -> None:
        self._a = {name: a[name].detach().float() for name in moving_names(spec)}

    def value(self, b: StateDict) -> Tensor:
        """Return the distance in float32."""
        return torch.stack([(a - b[name]).square().sum() for name, a in self._a.items()]).sum()

    @torch.no_grad()
    def score(self, b: StateDict) -> float:
        """Return the distance in float64."""
        return finite(sum(float((a.double() - b[name].double()).square().sum()) for name, a in self._a.items()))


class AlongPath(AbstractCost):
    """Loss of the network between A and B: half-way, or anywhere."""

    def __init__(self, between: Between, anywhere: bool, seed: int) -> None:
        self._between = between
        self._batches = between.batches()
        self._draw = np.random.default_rng(seed) if anywhere else None
        where = "at 1/4, 1/2 and 3/4 between" if anywhere else "half-way between"
        self.name = f"loss {where} A and aligned B on {between.examples} training examples (lower is better)"
        self.unit = "loss between A and B" if anywhere else "midpoint loss"

    def value(self, b: StateDict) -> Tensor:
        """Return the mean loss of the next batch."""
        inputs, targets = next(self._batches)
        t = 0.5 if self._draw is None else float(self._draw.random())
        return self._between.losses(b, inputs, targets, t).mean()

    def score(self, b: StateDict) -> float:
        """Return the mean loss of the held examples, over three positions where the cost is drawn anywhere."""
        return float(np.mean([self._between.loss(b, t) for t in ((0.5,) if self._draw is None else (0.25, 0.5, 0.75))]))


@dataclass(frozen=True)
class _Check:
    permutation: Mapping[str, NDArray[np.int64]]
    hard: float
    soft: float


@dataclass(frozen=True)
class _Run:
    name: str
    unit: str
    checks: list[_Check]

    @property
    def best(self) -> _Check:
        """The check with the lowest rounded score; the first of equals."""
        return min(self.checks, key=lambda check: check.hard)

    @property
    def settled(self) -> bool:
        """Whether the last quarter of the checks gained less than a hundredth of what all gained."""
        scores = np.minimum.accumulate([check.hard for check in self.checks])
        return bool(scores[-1 - len(scores) // 4] - scores[-1] <= 0.01 * (scores[0] - scores[-1]))


class _Relaxed:
    """B under soft permutations: the matrices that are learned, and the potentials that start the next scaling."""

    def __init__(
        self,
        spec: PermutationSpec,
        b: dict[str, Tensor],
        temperature: float,
        noise: float,
        generator: torch.Generator,
    ) -> None:
        self._spec, self._b, self._temperature = spec, b, temperature
        device = next(tensor for tensor in b.values() if tensor.is_floating_point()).device
        self.logits: dict[str, Tensor] = {}
        for group in spec.groups:
            drawn = noise * torch.randn(group.blocks, group.size, group.size, generator=generator)
            self.logits[group.name] = (torch.eye(group.size) + drawn).to(device).requires_grad_()
        self._potentials: dict[str, Tensor] = {}

    def state(self, rounded: bool = False, iterations: int = 10) -> dict[str, Tensor]:
        """Return B mixed; or B permuted, with the gradient of the mixture."""
        soft = {}
        for name, logits in self.logits.items():
            scaled = logits / self._temperature
            # Few iterations: they go on from the step before, whose matrix was nearly the same.
            soft[name], self._potentials[name] = sinkhorn(scaled, self._potentials.get(name), iterations=iterations)
        if rounded:
            hard = matrices(self._spec, self.permutation(), next(iter(soft.values())))
            soft = {name: hard[name] + matrix - matrix.detach() for name, matrix in soft.items()}
        return soft_apply(self._spec, self._b, soft)

    def permutation(self) -> dict[str, NDArray[np.int64]]:
        """Return the permutation nearest to the matrices."""
        return nearest(self._spec, self.logits)

    @torch.no_grad()
    def check(self, cost: AbstractCost) -> _Check:
        """Round, and score both."""
        permutation = self.permutation()
        hard = cost.score(self._spec.apply(self._b, permutation))
        return _Check(permutation, hard, cost.score(self.state(iterations=100)))
