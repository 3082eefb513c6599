"""Many models at once: each into one common order, so that going round any of them comes back to the start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lmc._errors import MismatchError, SymmetryError, UsageError, unknown
from lmc._methods import ALIGNMENTS, load_method
from lmc._types import Permutation, StateDict
from lmc.alignment.align import align
from lmc.alignment.base import AbstractAlignment
from lmc.alignment.frank_wolfe import FrankWolfe
from lmc.alignment.weight_matching import inner
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True, eq=False, repr=False)
class ManyAlignment:
    """Permutations that bring many models into one order.

    Parameters
    ----------
    method : str
        How, and with which pairwise method.
    spec : PermutationSpec
        What the permutations are of.
    permutations : tuple of mapping
        One for each model, from its own order to the common one; the reference's moves nothing.
    objective : float
        Sum over all pairs of the inner product of their aligned parameters, in float64.
    trace : tuple of float
        The objective on the way, where it has steps.
    converged : bool
        Whether it stopped because nothing improved any more.
    message : str
        How it ended.
    seconds : mapping of str to float
        Time it took.
    seed : int
        Of everything drawn.
    citation : str
        BibTeX.
    """

    method: str
    spec: PermutationSpec
    permutations: tuple[Permutation, ...]
    objective: float
    trace: tuple[float, ...] = ()
    converged: bool = True
    message: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    citation: str = ""

    objective_name = "sum over pairs of the inner product of aligned parameters"

    def __repr__(self) -> str:
        """Say what was found."""
        return f"ManyAlignment({self.method}: {len(self.permutations)} models, {self.objective:.6g}, {self.message})"

    def apply(self, states: Sequence[StateDict]) -> list[dict[str, Tensor]]:
        """Return every model in the common order; the models are left as they are."""
        if len(states) != len(self.permutations):
            raise UsageError(f"{len(states)} state dicts for an alignment of {len(self.permutations)} models.")
        return [self.spec.apply(state, one) for state, one in zip(states, self.permutations, strict=True)]

    def between(self, i: int, j: int) -> Permutation:
        """Return the permutation that brings model j into model i's own order: through the common one and back."""
        return self.spec.compose(self.permutations[j], self.spec.inverse(self.permutations[i]))

    def check_closed(self) -> None:
        """Prove that every round trip over three models moves nothing.

        Raises
        ------
        SymmetryError
            If one does: the composition of permutations is wrong for this spec.
        """
        count = len(self.permutations)
        for i in range(count):
            j, k = (i + 1) % count, (i + 2) % count
            around = self.spec.compose(self.spec.compose(self.between(i, j), self.between(k, i)), self.between(j, k))
            identity = self.spec.identity()
            moved = [name for name, perm in around.items() if not np.array_equal(perm, identity[name])]
            if moved:
                raise SymmetryError(f"Permutations of models {i}, {j} and {k} do not close in {', '.join(moved[:4])}.")


def align_many(
    states: Sequence[StateDict],
    spec: PermutationSpec,
    *,
    method: str = "cycle-consistent",
    base: str | AbstractAlignment | None = None,
    reference: int = 0,
    sweeps: int = 20,
    seed: int = 0,
    data: Any = None,
    module: nn.Module | None = None,
) -> ManyAlignment:
    """Bring many models into one order.

    Parameters
    ----------
    states : sequence of state dict
        Two or more models of one architecture; none is modified.
    spec : PermutationSpec
        Its symmetries.
    method : {"cycle-consistent", "merge-many", "pivot"}
        ``cycle-consistent`` maximises over all pairs at once by Frank-Wolfe (C2M3); ``merge-many`` aligns each in turn
        to the mean of the others until nothing improves; ``pivot`` aligns each to the reference alone.
    base : str or AbstractAlignment, optional
        How two models are aligned: "weights" by default; settings of "frank-wolfe" for ``cycle-consistent``.
    reference : int
        Model whose own order is the common one.
    sweeps : int
        Most rounds of ``merge-many``.
    seed : int
        Seed of methods that do not name one, and of the order of the rounds.
    data, module
        As in :func:`lmc.align`, for a ``base`` that needs them.

    Returns
    -------
    ManyAlignment
        Proved to close: aligning i to j, j to k and k to i moves nothing.

    Raises
    ------
    UsageError
        For an unknown method, fewer than two models or a reference that is none of them.
    MismatchError
        If a state dict is not of the spec's architecture, or not finite.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin. ICLR 2023, Alg. 2 (``merge-many``).
    .. [2] Crisostomi et al. C2M3: Cycle-Consistent Multi-Model Merging. NeurIPS 2024.
    """
    start = time.perf_counter()
    if method not in _METHODS:
        raise unknown("method for many models", method, _METHODS)
    if len(states) < 2 or not 0 <= reference < len(states):
        raise UsageError(f"align_many needs two models or more and one of them as reference={reference}.")
    _check_states(states, spec)
    if base is None or isinstance(base, str):
        default = "frank-wolfe" if method == "cycle-consistent" else "weights"
        base = load_method(base or default, ALIGNMENTS, "alignment", seed=seed)
    assert isinstance(base, AbstractAlignment)
    rest = [index for index in range(len(states)) if index != reference]
    ordered = [states[index] for index in (reference, *rest)]
    job = _Job(ordered, spec, base, sweeps, seed, data, module)
    outcome = _METHODS[method](job)
    permutations = dict(zip((reference, *rest), (spec.identity(), *outcome.permutations), strict=True))
    result = ManyAlignment(
        f"{method} by {type(base).__name__}",
        spec,
        tuple(permutations[index] for index in range(len(states))),
        total_inner(ordered, spec, (spec.identity(), *outcome.permutations)),
        outcome.trace,
        outcome.converged,
        outcome.message,
        {"total": time.perf_counter() - start},
        seed,
        base.citation,
    )
    result.check_closed()
    return result


def _check_states(states: Sequence[StateDict], spec: PermutationSpec) -> None:
    for index, state in enumerate(states):
        spec.check_state(state)
        broken = [key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
        if broken:
            raise MismatchError(f"Weights of model {index} are NaN or infinite in {', '.join(broken[:4])}.")


def total_inner(states: Sequence[StateDict], spec: PermutationSpec, permutations: Sequence[Permutation]) -> float:
    """Return the sum over all pairs of models of the inner product of their permuted parameters."""
    moved = [_parameters(spec.apply(state, one), spec) for state, one in zip(states, permutations, strict=True)]
    return sum(inner(moved[i], moved[j]) for j in range(len(moved)) for i in range(j))


def _parameters(state: StateDict, spec: PermutationSpec) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in spec.buffers | set(spec.aliases)}


@dataclass(frozen=True)
class _Job:
    """What every method is given: the reference is the first of the states."""

    states: Sequence[StateDict]
    spec: PermutationSpec
    base: AbstractAlignment
    sweeps: int
    seed: int
    data: Any
    module: nn.Module | None

    def align(self, a: StateDict, b: StateDict) -> Any:
        return align(a, b, self.spec, method=self.base, data=self.data, module=self.module)


@dataclass(frozen=True)
class _Outcome:
    permutations: Sequence[Permutation]
    trace: tuple[float, ...]
    converged: bool
    message: str


def _pivot(job: _Job) -> _Outcome:
    results = [job.align(job.states[0], state) for state in job.states[1:]]
    return _Outcome(
        [result.permutation for result in results],
        (),
        all(result.converged for result in results),
        f"each of {len(results)} aligned to the reference",
    )


def _merge_many(job: _Job) -> _Outcome:
    rng = np.random.default_rng(job.seed)
    permutations = [job.spec.identity() for _ in job.states]
    moved = [job.spec.apply(state, one) for state, one in zip(job.states, permutations, strict=True)]
    trace = [total_inner(job.states, job.spec, permutations)]
    settled = False
    while not settled and len(trace) <= job.sweeps:
        for index in map(int, rng.permutation(len(moved))):
            mean = _mean([state for other, state in enumerate(moved) if other != index])
            step = job.align(mean, moved[index]).permutation
            after = job.spec.apply(moved[index], step)
            if _worth(mean, after, job.spec) > _worth(mean, moved[index], job.spec):
                moved[index], permutations[index] = after, job.spec.compose(permutations[index], step)
        trace.append(total_inner(job.states, job.spec, permutations))
        settled = trace[-1] - trace[-2] <= 1e-9 * abs(trace[-1])
    back = job.spec.inverse(permutations[0])
    return _Outcome(
        [job.spec.compose(one, back) for one in permutations[1:]],
        tuple(trace),
        settled,
        f"{len(trace) - 1} rounds" + ("" if settled else ", not converged"),
    )


def _mean(states: Sequence[StateDict]) -> dict[str, Tensor]:
    """Return the mean of state dicts in float32 at least; integers from the first."""
    mean = {}
    for name, tensor in states[0].items():
        wide = torch.promote_types(tensor.dtype, torch.float32)
        floating = tensor.is_floating_point()
        mean[name] = torch.stack([one[name].to(wide) for one in states]).mean(0) if floating else tensor
    return mean


def _worth(mean: StateDict, state: StateDict, spec: PermutationSpec) -> float:
    return inner(mean, _parameters(state, spec))


def _cycle_consistent(job: _Job) -> _Outcome:
    if not isinstance(job.base, FrankWolfe):
        raise UsageError(f"cycle-consistent is solved by 'frank-wolfe', not by {type(job.base).__name__}.")
    runs, best = job.base.solve(job.states, job.spec)
    return _Outcome(best.permutations, best.trace, best.converged, best.message(len(runs), job.base.steps))


_METHODS: Mapping[str, Callable[[_Job], _Outcome]] = {
    "cycle-consistent": _cycle_consistent,
    "merge-many": _merge_many,
    "pivot": _pivot,
}
