"""Weight matching (Git Re-Basin): coordinate descent over permutation groups, each step a linear assignment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import Permutation, StateDict
from lmc.alignment.assignment import assign
from lmc.alignment.base import AbstractAlignment, check_seed
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import Axis, PermutationGroup, PermutationSpec


@dataclass(frozen=True)
class WeightMatching(AbstractAlignment):
    r"""Match units by their weights, without data.

    .. math:: \max_P \sum_{\text{parameters}} \langle A, P(B) \rangle

    One group at a time is optimised exactly, the others held: a linear assignment on the sum of the Gram matrices of
    all its axes; heads together with what lies inside them. Start and order of the groups decide which of many local
    optima is reached, so several are tried and the best objective is kept.

    Parameters
    ----------
    restarts : int
        Random orders tried: the first starts from B as it is, every second of the others from a random permutation.
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
        check_seed(self.seed)

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Run every restart and keep the best."""
        start = time.perf_counter()
        problem = _Problem(a, b, spec)
        # A single group that meets only frozen axes is optimised exactly in one step: restarts would repeat it.
        single = len(spec.groups) == 1 and not problem.entangled(spec.groups[0].name)
        runs = [self._restart(problem, restart) for restart in range(1 if single else self.restarts)]
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

    def _restart(self, problem: _Problem, restart: int) -> _Run:
        rng = np.random.default_rng((self.seed, restart))
        start = problem.spec.random(int(rng.integers(2**31))) if restart % 2 else None
        return _Descent(problem, start).run(rng, self.sweeps)


@dataclass(frozen=True)
class _Run:
    permutation: Mapping[str, NDArray[np.int64]]
    trace: tuple[float, ...]
    converged: bool


def _message(best: _Run, objectives: tuple[float, ...], sweeps: int) -> str:
    kept = f"best of {len(objectives)} restarts" if len(objectives) > 1 else f"{len(best.trace) - 1} sweeps"
    return kept if best.converged else f"{kept}, not converged after {sweeps} sweeps"


_SMALL = 2e9
"""Multiplications of all Gram matrices up to which they are made in float64: well under a second, and units that
training has made almost alike (to 1e-3 in grokked attention heads) are told apart."""


class _Problem:
    """What all restarts share: the parameters, in float64 where that costs nothing, and A's units as rows."""

    def __init__(self, a: StateDict, b: StateDict, spec: PermutationSpec) -> None:
        self.spec = spec
        names = {axis.param for group in spec.groups for axis in group.axes} - spec.buffers
        self.groups = {group.name: group for group in spec.groups}
        self.axes = {g.name: [axis for axis in g.axes if axis.param in names] for g in spec.groups}
        work = sum(self.groups[name].units * a[axis.param].numel() for name, axes in self.axes.items() for axis in axes)
        self.dtype = torch.float64 if work <= _SMALL else torch.float32
        self.a = {name: a[name].detach().to(self.dtype) for name in names}
        self.b = {name: b[name].detach().to(self.dtype) for name in names}
        self.inside = {g.name: [c.name for c in spec.groups if c.over == ((g.name, g.size),)] for g in spec.groups}
        self._a_units: dict[Axis, Tensor] = {}
        # What no group moves adds the same to every permutation.
        fixed = {name: tensor for name, tensor in b.items() if name not in names | spec.buffers | set(spec.aliases)}
        self.fixed = inner(a, fixed)

    def gram(self, axis: Axis, b: Mapping[str, Tensor]) -> Tensor:
        """Return the inner product of every unit of A with every unit of B along one axis, blocks included."""
        if axis not in self._a_units:
            self._a_units[axis] = axis.units(self.a[axis.param])
        return self._a_units[axis] @ axis.units(b[axis.param]).T

    def family(self, name: str) -> list[str]:
        """Return a group and what lies inside it: they move in one step."""
        return [name, *self.inside[name]]

    def entangled(self, name: str) -> bool:
        """Say whether a step's worth is not exactly what it gains.

        So it is where a group lies twice in one tensor, or two groups inside the same one share a dimension: there the
        objective is no sum over the units.
        """
        params = [axis.param for axis in self.axes[name]]
        shared = [(axis.param, axis.dim) for child in self.inside[name] for axis in self.axes[child]]
        return len(set(params)) < len(params) or len(set(shared)) < len(shared)


def inner(a: StateDict, b: StateDict) -> float:
    """Return the inner product of two sets of tensors in float64, a cache-sized piece at a time."""
    total = 0.0
    for name, tensor in b.items():
        pairs = zip(a[name].reshape(-1).split(1 << 17), tensor.reshape(-1).split(1 << 17), strict=True)
        total += sum(float(torch.dot(one.double(), two.double())) for one, two in pairs)
    return total


class _Descent:
    """One coordinate descent: B is kept permuted, Gram matrices are kept until an axis they sum over moves."""

    def __init__(self, problem: _Problem, start: Permutation | None = None) -> None:
        self._problem = problem
        self._b = {name: problem.spec.permute(name, tensor, start or {}) for name, tensor in problem.b.items()}
        self._grams: dict[str, dict[Axis, Tensor]] = {name: {} for name in problem.axes}
        self._permutation = problem.spec.check(start or {})

    def run(self, rng: np.random.Generator, sweeps: int) -> _Run:
        """Sweep over the groups in random order until none of them moves."""
        waiting = set(self._problem.axes)
        trace = [self._problem.fixed + inner(self._problem.a, self._b)]
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
        group = self._problem.groups[name]
        worth = self._worth(name)
        if group.over:
            step, best, now = self._blockwise(group, worth)
        elif self._problem.inside[name]:
            step, best, now = self._with_inside(group, worth)
        else:
            chosen = assign(worth)
            step, best, now = {name: chosen}, worth[np.arange(group.size), chosen], worth.diagonal()
        gains = best.astype(np.float64) - now
        # Relative to what the units that gain or lose are worth: rounding must not pass for progress, or ties cycle;
        # but units with tiny weights count beside large ones.
        rounding = 8 * torch.finfo(self._problem.dtype).eps
        if gains.sum() <= rounding * np.abs(best[gains != 0]).sum(dtype=np.float64):
            return 0.0
        return self._move(name, step, float(gains.sum()))

    def _worth(self, name: str) -> NDArray[np.floating]:
        """Return what each pairing of units is worth, shape (blocks * size, blocks * size)."""
        grams = self._grams[name]
        for axis in self._problem.axes[name]:
            if axis not in grams:
                grams[axis] = self._problem.gram(axis, self._b)
        units = self._problem.groups[name].units
        return sum(grams.values(), start=torch.zeros(units, units, dtype=self._problem.dtype)).cpu().numpy()

    def _blockwise(self, group: PermutationGroup, worth: NDArray[np.floating]) -> tuple[dict, NDArray, NDArray]:
        """Assign inside every block, the blocks where they are."""
        blocks = worth.reshape(group.blocks, group.size, group.blocks, group.size)
        own = [blocks[block, :, block] for block in range(group.blocks)]
        chosen = np.stack([assign(one) for one in own])
        best = np.stack([one[np.arange(group.size), row] for one, row in zip(own, chosen, strict=True)])
        return {group.name: chosen}, best, worth.diagonal().reshape(best.shape)

    def _with_inside(self, group: PermutationGroup, worth: NDArray[np.floating]) -> tuple[dict, NDArray, NDArray]:
        """Assign a group together with what lies inside it: the best inside for every pairing, then the pairing."""
        total = worth.astype(np.float64)
        now = total.diagonal().copy()
        rows = {}
        for name in self._problem.inside[group.name]:
            size = self._problem.groups[name].size
            inside = self._worth(name).reshape(group.size, size, group.size, size).transpose(0, 2, 1, 3)
            rows[name] = np.array([[assign(inside[i, j]) for j in range(group.size)] for i in range(group.size)])
            best = np.take_along_axis(inside, rows[name][..., None], axis=-1)[..., 0].sum(axis=-1, dtype=np.float64)
            total += best - np.trace(inside, axis1=2, axis2=3, dtype=np.float64)
        chosen = assign(total)
        places = np.arange(group.size)
        step = {group.name: chosen, **{name: perms[places, chosen] for name, perms in rows.items()}}
        return step, total[places, chosen], now

    def _move(self, name: str, step: dict[str, NDArray[np.int64]], gain: float) -> float:
        """Permute B further; where the worth is not all there is, only if the true objective grows."""
        params = {axis.param for moved in step for axis in self._problem.axes[moved]}
        before = {param: self._b[param] for param in params}
        after = {param: self._problem.spec.permute(param, tensor, step) for param, tensor in before.items()}
        if self._problem.entangled(name):
            gain = inner(self._problem.a, after) - inner(self._problem.a, before)
            if gain <= 0:
                return 0.0
        self._b.update(after)
        self._permutation = self._problem.spec.compose(self._permutation, step)
        self._refresh(step)
        return gain

    def _refresh(self, step: Mapping[str, NDArray[np.int64]]) -> None:
        """Permute the moved group's Gram matrices, or forget them; forget those that sum over the moved axes."""
        touched = {(axis.param, axis.dim): moved for moved in step for axis in self._problem.axes[moved]}
        for name, axes in self._problem.axes.items():
            alone = list(step) == [name] and step[name].ndim == 1
            if alone:
                index = torch.from_numpy(step[name])
                self._grams[name] = {axis: gram.index_select(1, index) for axis, gram in self._grams[name].items()}
            for axis in axes:
                near = [place for place in touched if place[0] == axis.param]
                if any(not alone or dim != axis.dim for _, dim in near):
                    self._grams[name].pop(axis, None)

    def _neighbours(self, name: str) -> set[str]:
        """Return the groups whose worth changes when this one moves: those in a tensor with it."""
        family = self._problem.family(name)
        params = {axis.param for member in family for axis in self._problem.axes[member]}
        near = {other for other, axes in self._problem.axes.items() if any(axis.param in params for axis in axes)}
        return near if self._problem.entangled(name) else near - set(family)
