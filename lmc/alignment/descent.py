"""Coordinate descent over permutation groups: one group at a time is put where it is worth most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lmc._types import Permutation
from lmc.alignment.assignment import assign
from lmc.alignment.pair_worths import PairWorths, Problem
from lmc.symmetry import PermutationGroup

Order = Callable[[list[str]], list[str]]
"""Puts the groups of one sweep in order."""


@dataclass(frozen=True)
class Run:
    """What one start came to.

    Parameters
    ----------
    permutation : mapping of str to array
        B's.
    trace : tuple of float
        The objective at the start, and after each sweep.
    converged : bool
        Whether no group could be placed better.
    """

    permutation: Mapping[str, NDArray[np.int64]]
    trace: tuple[float, ...]
    converged: bool


class Descent:
    """One coordinate descent, from a permutation, or inward: from what is known of each group alone."""

    def __init__(self, problem: Problem, start: Permutation | None = None) -> None:
        self._problem = problem
        self._permutation = problem.spec.check(start or {})
        moved = {name: problem.spec.permute(name, tensor, start or {}) for name, tensor in problem.b.items()}
        self._worths = PairWorths(problem, moved)

    def inward(self, order: Order | None = None) -> None:
        """Place every group once, each by what is known so far: fixed inputs and outputs, and groups placed before it.

        Groups that are not placed yet count as the mean of all their permutations. In a network with random weights
        most of what a residual stream touches is of unknown order: taken as it is, it drowns the little that is known.
        Without an order the group comes first most of whose weights are known.
        """
        self._worths.open |= set(self._problem.axes)
        waiting = [name for name in self._problem.axes if name not in self._problem.outer]
        for name in order(waiting) if order else self._known_first(waiting):
            step, _, _ = self._best(name)
            self._worths.move(step, close=True)
            self._permute(step)

    def _known_first(self, names: list[str]) -> Iterator[str]:
        waiting = list(names)
        while waiting:
            name = max(waiting, key=self._worths.known)
            waiting.remove(name)
            yield name

    def run(self, order: Order, sweeps: int) -> Run:
        """Sweep over the groups until none of them moves."""
        problem = self._problem
        waiting = set(problem.axes)
        trace = [problem.fixed + problem.score(self._worths.b)]
        for _ in range(sweeps):
            gained = 0.0
            for name in order(sorted(waiting)):
                waiting.discard(name)
                gain = self._step(name)
                gained += gain
                waiting |= problem.neighbours(name) if gain else set()
            trace.append(trace[-1] + gained)
            if not waiting:
                break
        trace[-1] = problem.fixed + problem.score(self._worths.b)
        return Run(self._permutation, tuple(trace), not waiting)

    def _step(self, name: str) -> float:
        """Put one group's units where they are worth most, the other groups held; return what that gained."""
        step, gains, best = self._best(name)
        # Relative to what the units that gain or lose are worth: rounding must not pass for progress, or ties cycle;
        # but units with tiny weights count beside large ones.
        rounding = 8 * torch.finfo(self._problem.dtype).eps
        if gains.sum() <= rounding * np.abs(best[gains != 0]).sum(dtype=np.float64):
            return 0.0
        return self._move(name, step, float(gains.sum()))

    def _best(self, name: str) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.float64], NDArray[np.floating]]:
        """Return the best step of one group, what every unit gains by it, and what it is worth then."""
        group = self._problem.groups[name]
        worth = self._worths.of(name)
        if group.over:
            step, best, now = self._blockwise(group, worth)
        elif self._problem.inside[name]:
            step, best, now = self._with_inside(group, worth)
        else:
            chosen = _places(worth)
            step, best, now = {name: chosen}, worth[chosen, np.arange(group.size)], worth.diagonal()
        return step, best.astype(np.float64) - now, best

    def _blockwise(self, group: PermutationGroup, worth: NDArray[np.floating]) -> tuple[dict, NDArray, NDArray]:
        """Assign inside every block, the blocks where they are."""
        blocks = worth.reshape(group.blocks, group.size, group.blocks, group.size)
        own = [blocks[block, :, block] for block in range(group.blocks)]
        chosen = np.stack([_places(one) for one in own])
        best = np.stack([one[row, np.arange(group.size)] for one, row in zip(own, chosen, strict=True)])
        return {group.name: chosen}, best, worth.diagonal().reshape(best.shape)

    def _with_inside(self, group: PermutationGroup, worth: NDArray[np.floating]) -> tuple[dict, NDArray, NDArray]:
        """Assign a group together with what lies inside it: the best inside for every pairing, then the pairing."""
        total = worth.astype(np.float64)
        now = total.diagonal().copy()
        rows = {}
        for name in self._problem.inside[group.name]:
            size = self._problem.groups[name].size
            # Axes: outer unit of A, outer unit of B, inner unit of B, inner unit of A.
            inside = self._worths.of(name).reshape(group.size, size, group.size, size).transpose(2, 0, 1, 3)
            rows[name] = np.array([[_places(inside[i, j]) for j in range(group.size)] for i in range(group.size)])
            best = np.take_along_axis(inside, rows[name][:, :, None, :], axis=2)[:, :, 0].sum(-1, dtype=np.float64)
            total += (best - np.trace(inside, axis1=2, axis2=3, dtype=np.float64)).T
        chosen = _places(total)
        places = np.arange(group.size)
        step = {group.name: chosen, **{name: perms[places, chosen] for name, perms in rows.items()}}
        return step, total[chosen, places], now

    def _move(self, name: str, step: dict[str, NDArray[np.int64]], gain: float) -> float:
        """Permute B further; where the worth is not all there is, only if the true objective grows."""
        problem = self._problem
        if problem.entangled(name):
            params = {axis.param for moved in step for axis in problem.axes[moved]}
            before = {param: self._worths.b[param] for param in sorted(params)}
            after = {param: problem.spec.permute(param, tensor, step) for param, tensor in before.items()}
            gain = problem.score(after) - problem.score(before)
            if gain <= 0:
                return 0.0
        self._worths.move(step)
        self._permute(step)
        return gain

    def _permute(self, step: dict[str, NDArray[np.int64]]) -> None:
        """Remember the step; by itself where no other group's order is told by it."""
        nested = any(name in self._problem.nested for name in step)
        if nested:
            self._permutation = self._problem.spec.compose(self._permutation, step)
        else:
            self._permutation |= {name: self._permutation[name][perm] for name, perm in step.items()}


def _places(worth: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return, for every unit of A (columns), the unit of B (rows) that goes there."""
    return np.argsort(assign(worth))
