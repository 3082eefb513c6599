"""Weight matching (Git Re-Basin): coordinate descent over permutation groups, each step a linear assignment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.assignment import assign
from lmc.alignment.base import AbstractAlignment
from lmc.alignment.result import AlignmentResult
from lmc.symmetry import Axis, PermutationSpec


@dataclass(frozen=True)
class WeightMatching(AbstractAlignment):
    r"""Match units by their weights, without data.

    .. math:: \max_P \sum_{\text{parameters}} \langle A, P(B) \rangle

    One group at a time is optimised exactly, the others held: a linear assignment on the sum of the Gram matrices of
    all its axes. The order of the groups decides which of many local optima is reached, so several orders are tried
    and the best objective is kept.

    Parameters
    ----------
    restarts : int
        Random orders tried.
    sweeps : int
        Most passes over all groups in one restart.
    seed : int
        Seed of the orders.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023, Alg. 1.
    """

    restarts: int = 8
    sweeps: int = 100
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{ainsworth2023git,
  title = {Git Re-Basin: Merging Models modulo Permutation Symmetries},
  author = {Ainsworth, Samuel K. and Hayase, Jonathan and Srinivasa, Siddhartha},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""

    def __post_init__(self) -> None:
        for name in ("restarts", "sweeps"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UsageError(f"weights: {name} must be a positive integer, got {getattr(self, name)!r}.")

    def align(self, a: StateDict, b: StateDict, spec: PermutationSpec, data: Any = None) -> AlignmentResult:
        """Run every restart and keep the best."""
        start = time.perf_counter()
        # One group is optimised exactly in one step, so further orders would only repeat it.
        restarts = self.restarts if len(spec.groups) > 1 else 1
        rngs = [np.random.default_rng((self.seed, restart)) for restart in range(restarts)]
        problem = _Problem(a, b, spec)
        runs = [_Descent(problem).run(rng, self.sweeps) for rng in rngs]
        best = max(runs, key=lambda run: run.trace[-1])
        objectives = tuple(run.trace[-1] for run in runs)
        return AlignmentResult(
            f"weights?restarts={self.restarts}&sweeps={self.sweeps}&seed={self.seed}",
            spec,
            best.permutation,
            objective=best.trace[-1],
            objective_name="inner product of A's and aligned B's parameters",
            trace=best.trace,
            converged=best.converged,
            message=_message(best, objectives, self.sweeps),
            restarts=objectives,
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )


@dataclass(frozen=True)
class _Run:
    permutation: Mapping[str, NDArray[np.int64]]
    trace: tuple[float, ...]
    converged: bool


def _message(best: _Run, objectives: tuple[float, ...], sweeps: int) -> str:
    kept = f"best of {len(objectives)} restarts" if len(objectives) > 1 else f"{len(best.trace) - 1} sweeps"
    return kept if best.converged else f"{kept}, not converged after {sweeps} sweeps"


class _Problem:
    """What all restarts share: the parameters in float32, A's units as rows, the objective before anything moves."""

    def __init__(self, a: StateDict, b: StateDict, spec: PermutationSpec) -> None:
        self.spec = spec
        names = {axis.param for group in spec.groups for axis in group.axes} - spec.buffers
        self.a = {name: a[name].detach().float() for name in names}
        self.b = {name: b[name].detach().float() for name in names}
        self.axes = {g.name: [axis for axis in g.axes if axis.param in names] for g in spec.groups}
        self.sizes = {group.name: group.size for group in spec.groups}
        self._a_units: dict[Axis, Tensor] = {}
        # What no group moves adds the same to every permutation.
        fixed = {name: tensor for name, tensor in b.items() if name not in names | spec.buffers | set(spec.aliases)}
        self.fixed = inner(a, fixed)
        self.start = self.fixed + inner(self.a, self.b)

    def gram(self, axis: Axis, b: Mapping[str, Tensor]) -> Tensor:
        """Return the inner product of every unit of A with every unit of B along one axis."""
        if axis not in self._a_units:
            self._a_units[axis] = axis.units(self.a[axis.param])
        return self._a_units[axis] @ axis.units(b[axis.param]).T

    def meets_itself(self, name: str) -> bool:
        """Say whether a group lies in two axes of one tensor, where the objective is quadratic in its permutation."""
        params = [axis.param for axis in self.axes[name]]
        return len(set(params)) < len(params)


def inner(a: StateDict, b: StateDict) -> float:
    """Return the inner product of two sets of tensors in float64, a cache-sized piece at a time."""
    total = 0.0
    for name, tensor in b.items():
        pairs = zip(a[name].reshape(-1).split(1 << 17), tensor.reshape(-1).split(1 << 17), strict=True)
        total += sum(float(torch.dot(one.double(), two.double())) for one, two in pairs)
    return total


class _Descent:
    """One coordinate descent: B is kept permuted, Gram matrices are kept until an axis they sum over moves."""

    def __init__(self, problem: _Problem) -> None:
        self._problem = problem
        self._b = dict(problem.b)
        self._grams: dict[str, dict[Axis, Tensor]] = {name: {} for name in problem.axes}
        self._permutation = problem.spec.identity()

    def run(self, rng: np.random.Generator, sweeps: int) -> _Run:
        """Sweep over the groups in random order until none of them moves."""
        waiting = set(self._problem.axes)
        trace = [self._problem.start]
        for _ in range(sweeps):
            gained = 0.0
            for name in map(str, rng.permutation(sorted(waiting))):
                waiting.discard(name)
                gain = self._step(name)
                gained += gain
                waiting |= self._neighbours(name) if gain else set()
            trace.append(trace[-1] + gained)
            if not waiting:
                break
        trace[-1] = self._problem.fixed + inner(self._problem.a, self._b)
        return _Run(self._permutation, tuple(trace), not waiting)

    def _step(self, name: str) -> float:
        """Put one group's units where they are worth most, the other groups held; return what that gained."""
        worth = self._worth(name)
        chosen = assign(worth)
        now = np.arange(len(chosen))
        best = worth[now, chosen].astype(np.float64)
        gain = float(best.sum() - worth.trace(dtype=np.float64))
        # Relative to what the pairings are worth: float32 rounding must not pass for progress, or ties cycle.
        if gain <= 1e-6 * np.abs(best).sum():
            return 0.0
        return self._move(name, chosen, gain)

    def _worth(self, name: str) -> NDArray[np.float32]:
        grams = self._grams[name]
        for axis in self._problem.axes[name]:
            if axis not in grams:
                grams[axis] = self._problem.gram(axis, self._b)
        size = self._problem.sizes[name]
        return sum(grams.values(), start=torch.zeros(size, size)).cpu().numpy()

    def _move(self, name: str, chosen: NDArray[np.int64], gain: float) -> float:
        """Permute B further; where the group meets itself in a tensor, only if the true objective grows."""
        axes = self._problem.axes[name]
        before = {axis.param: self._b[axis.param] for axis in axes}
        step = {**self._problem.spec.identity(), name: chosen}
        after = dict(before)
        for axis in axes:
            index = self._problem.spec.index(axis.param, axis.dim, step)
            if index is not None:
                after[axis.param] = after[axis.param].index_select(axis.dim, torch.from_numpy(index))
        if self._problem.meets_itself(name):
            gain = inner(self._problem.a, after) - inner(self._problem.a, before)
            if gain <= 0:
                return 0.0
        self._b.update(after)
        self._permutation[name] = self._permutation[name][chosen]
        self._refresh(name, chosen)
        return gain

    def _refresh(self, moved: str, chosen: NDArray[np.int64]) -> None:
        """Permute the moved group's Gram matrices; forget those that sum over the moved axes."""
        index = torch.from_numpy(chosen)
        self._grams[moved] = {axis: gram.index_select(1, index) for axis, gram in self._grams[moved].items()}
        touched = {(axis.param, axis.dim) for axis in self._problem.axes[moved]}
        for name, axes in self._problem.axes.items():
            for axis in axes:
                if any(param == axis.param and (dim != axis.dim or name != moved) for param, dim in touched):
                    self._grams[name].pop(axis, None)

    def _neighbours(self, name: str) -> set[str]:
        """Return the groups whose worth changes when this one moves: those in a tensor with it."""
        params = {axis.param for axis in self._problem.axes[name]}
        near = {other for other, axes in self._problem.axes.items() if any(axis.param in params for axis in axes)}
        return near if self._problem.meets_itself(name) else near - {name}
