"""Straight-through estimation (Git Re-Basin): gradient descent on weights that are projected to B's permutations."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import Permutation, StateDict
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.midpoint import Between, finite, require_data, widened
from lmc.alignment.result import AlignmentResult
from lmc.alignment.settings import check_at_least
from lmc.alignment.soft import moving_names
from lmc.alignment.weight_matching import WeightMatching
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class StraightThrough(AbstractAlignment):
    r"""Learn weights whose nearest permutation of B lies in A's basin.

    .. math:: \pi = \arg\max_\pi \langle \tilde\theta, \pi(B) \rangle, \qquad
        \tilde\theta \leftarrow \tilde\theta - \eta \nabla \mathcal{L}\big(\tfrac12 (A + \pi(B))\big)

    The free weights start at A. In each step they are projected to a permutation of B by weight matching, from the
    permutation of the step before; the gradient at the midpoint is passed to them as if there were no projection. The
    best permutation on fixed training examples of those tried is returned, B as it is among them.

    Parameters
    ----------
    steps : int
        Steps of Adam; each costs a weight matching.
    lr : float
        Its learning rate.
    batch_size : int
        Examples in a step.
    examples : int
        The first so many decide which permutation is kept.
    seed : int
        Of the order of the examples and of weight matching.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023, Alg. 3.
    """

    steps: int = 100
    lr: float = 1e-3
    batch_size: int = 500
    examples: int = 5000
    seed: int = 0

    citation: ClassVar[str] = WeightMatching.citation

    def __post_init__(self) -> None:
        check_at_least("ste", self, steps=1, batch_size=1, examples=1)
        if not self.lr > 0:
            raise UsageError(f"ste: lr must be above 0, got {self.lr!r}.")
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
        """Descend, and keep the best permutation on the way."""
        start = time.perf_counter()
        known, network = require_data("ste", data, module, a, b)
        between = Between(network, a, known, self.batch_size, self.seed, self.examples)
        projection = _Projection(spec, a, widened(b), self.seed)
        tried = [(between.loss(projection.b), projection.permutation)]
        update = torch.optim.Adam(list(projection.free.values()), lr=self.lr)
        for _, (inputs, targets) in zip(range(self.steps), between.batches(), strict=False):
            if projection.project() or len(tried) == 1:
                tried.append((between.loss(projection.b), projection.permutation))
            value = between.losses(projection.state(), inputs, targets).mean()
            finite(float(value.detach()))
            update.zero_grad()
            value.backward()
            update.step()
        loss, permutation = min(tried, key=lambda one: one[0])
        moved = tried[len(tried) // 2 :]
        return AlignmentResult(
            f"ste?steps={self.steps}&lr={self.lr:g}&batch_size={self.batch_size}&examples={self.examples}"
            f"&seed={self.seed}",
            spec,
            permutation,
            objective=loss,
            objective_name=f"loss half-way between A and aligned B on {between.examples} training examples "
            "(lower is better)",
            trace=tuple(one for one, _ in tried),
            converged=loss >= min(one for one, _ in tried[: len(tried) - len(moved) + 1]),
            message=f"midpoint loss {loss:.4g}, best of {len(tried)} permutations in {self.steps} steps",
            restarts=(loss,),
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )


class _Projection:
    """Free weights, and the permutation of B that lies nearest to them."""

    def __init__(self, spec: PermutationSpec, a: StateDict, b: dict[str, Tensor], seed: int) -> None:
        self._spec, self._a = spec, a
        self._matching = WeightMatching(restarts=1, start="same", scale="plain", seed=seed)
        self.b = b
        self.permutation: Permutation = spec.identity()
        self.free = {name: a[name].detach().float().clone().requires_grad_() for name in moving_names(spec)}

    def project(self) -> bool:
        """Match B to the free weights anew; say whether it moved."""
        target = {**self._a, **{name: tensor.detach() for name, tensor in self.free.items()}}
        step = self._matching.align(target, self.b, self._spec).permutation
        permutation = self._spec.compose(self.permutation, step)
        moved = any((permutation[name] != self.permutation[name]).any() for name in permutation)
        if moved:
            self.b, self.permutation = self._spec.apply(self.b, step), permutation
        return moved

    def state(self) -> dict[str, Tensor]:
        """Return B permuted, with the gradient of the free weights."""
        passed = {name: self.b[name] + (free - free.detach()) for name, free in self.free.items()}
        return {name: passed.get(self._spec.aliases.get(name, name), tensor) for name, tensor in self.b.items()}
