"""Weight matching (Git Re-Basin): coordinate descent over permutation groups, each step a linear assignment."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.descent import Descent, Order, Run
from lmc.alignment.pair_worths import Problem
from lmc.alignment.pair_worths import inner as inner
from lmc.alignment.result import AlignmentResult
from lmc.alignment.second_moments import weighed_inputs
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationGroup, PermutationSpec


@dataclass(frozen=True)
class WeightMatching(AbstractAlignment):
    r"""Match units by their weights, without data.

    .. math:: \max_P \sum_{\text{parameters}} w \langle A, P(B) \rangle

    The plain sum of [1]_ (:math:`w = 1`) is ruled by wide layers: the ten rows that read the last hidden layer of a
    classifier count for nothing beside the hundreds that make it, though what a unit says to the classes is what is
    best known of it. :math:`w = 1 / \sqrt{n}`, with a tensor's number of outputs (the size of its first dimension),
    gives lower barriers on most chains of layers that were trained apart, and higher ones where many layers tell a
    group's order, as in residual streams (docs/how-to-choose-an-alignment.md has both tables). ``scale="auto"`` takes
    the root where every group lies in the matrices of at most two layers, the one that makes its units and the one that
    reads them, and no square matrix leads from a group to itself, as in a plain recurrent network.

    One group at a time is optimised exactly, the others held: a linear assignment on the sum of the Gram matrices of
    all its axes; heads together with what lies inside them. Start and order of the groups decide which of many local
    optima is reached, so several are tried and the best objective is kept:

    - inward, from nothing: each group is first placed by the weights whose other ends are known (fixed inputs and
      outputs, groups placed before it), the best known one next; what is not placed yet counts as the mean of all its
      permutations. With most other ends in unknown order, as in a residual stream, they would drown what is known;
    - B as it is, and random permutations, in turn.

    Parameters
    ----------
    restarts : int, optional
        Starts tried: the inward one once, the others in turn. By default 8; for small networks (LeNet's size) 64,
        unless the first 8 end alike: the best there is often that of one start in twenty, and all take a second.
    sweeps : int
        Most passes over all groups in one restart.
    order : str
        Of the groups in a sweep: ``random``, or ``forward`` or ``backward``, as in the forward pass or against it;
        then the first start places them in that order, too.
    start : str
        ``inward``, or ``same``: B as it is and random permutations only, in turn.
    scale : str
        ``outputs``: each tensor's inner product over the root of its outputs; ``plain``: the sum as it is; ``auto``:
        the one for chains of layers, the other for all else.
    seed : int
        Seed of orders and permutations.
    covariance : bool
        Weigh A's matrices by the second moments of their inputs in A [2]_, so that directions that no example uses do
        not count; needs data.
    examples : int
        How many of the data these moments are of, the first ones.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023, Alg. 1.
    .. [2] Ferbach, Goujaud, Gidel, Dieuleveut. Proving Linear Mode Connectivity of Neural Networks via Optimal
       Transport. AISTATS 2024.
    """

    restarts: int | None = None
    sweeps: int = 100
    order: str = "random"
    start: str = "inward"
    scale: str = "auto"
    seed: int = 0
    covariance: bool = False
    examples: int = 1000

    citation: ClassVar[str] = """@inproceedings{ainsworth2023git,
  title = {Git Re-Basin: Merging Models modulo Permutation Symmetries},
  author = {Ainsworth, Samuel K. and Hayase, Jonathan and Srinivasa, Siddhartha},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""

    def __post_init__(self) -> None:
        counts = {"restarts": 1 if self.restarts is None else self.restarts, "sweeps": self.sweeps}
        for name, value in counts.items():
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"weights: {name} must be a positive integer, got {value!r}.")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise unknown(f"weights: {name}", str(getattr(self, name)), known)
        check_seed(self.seed)
        if not isinstance(self.covariance, bool):
            raise UsageError(f"weights: covariance is true or false, got {self.covariance!r}.")
        if not isinstance(self.examples, int) or self.examples < 1:
            raise UsageError(f"weights: examples must be a positive integer, got {self.examples!r}.")

    @property
    def needs(self) -> Needs:
        """Data where inputs are weighed; else nothing but weights."""
        return "data" if self.covariance else "none"

    def continued(self) -> WeightMatching:
        """Start from B as it is, where another method has put it."""
        return replace(self, start="same")

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
        if self.covariance:
            assert data is not None and module is not None
            a = weighed_inputs(a, module, data, self.examples)
        scale = self.scale if self.scale != "auto" else "outputs" if _is_chain(spec, b) else "plain"
        problem = Problem(a, b, spec, _shares(b) if scale == "outputs" else None)
        # A single group that meets only frozen axes is optimised exactly in one step: restarts would repeat it.
        single = len(spec.groups) == 1 and not problem.entangled(spec.groups[0].name)
        runs = self._runs(problem, 1 if single else self.restarts)
        best = max(runs, key=lambda run: run.trace[-1])
        objectives = tuple(run.trace[-1] for run in runs)
        asked = {**{name: str(getattr(self, name)) for name in _CHOICES}, "scale": scale}
        options = "".join(f"&{name}={value}" for name, value in asked.items() if value != _CHOICES[name][0])
        if self.covariance:
            options += f"&covariance=true&examples={self.examples}"
        scaled = ", each tensor's over the root of its outputs" if scale == "outputs" else ""
        weighed = ", A's weighed by the second moments of their inputs" if self.covariance else ""
        return AlignmentResult(
            f"weights?restarts={self.restarts or len(runs)}&sweeps={self.sweeps}{options}&seed={self.seed}",
            spec,
            best.permutation,
            objective=best.trace[-1],
            objective_name=f"inner product of A's and aligned B's parameters{scaled}{weighed}",
            trace=best.trace,
            converged=best.converged,
            message=_message(best, objectives, self.sweeps),
            restarts=objectives,
            seconds={"total": time.perf_counter() - start},
            seed=self.seed,
            citation=self.citation,
        )

    def _runs(self, problem: Problem, restarts: int | None) -> list[Run]:
        if restarts is not None:
            return [self._restart(problem, restart) for restart in range(restarts)]
        runs = [self._restart(problem, restart) for restart in range(_FEW)]
        ends = [run.trace[-1] for run in runs]
        if problem.work <= _FAST and not np.allclose(ends, max(ends), rtol=1e-9, atol=0):
            runs += [self._restart(problem, restart) for restart in range(_FEW, _MANY)]
        return runs

    def _restart(self, problem: Problem, restart: int) -> Run:
        rng = np.random.default_rng((self.seed, restart))
        start = self.start if restart == 0 else ("same", "random")[(restart - (self.start == "inward")) % 2]
        descent = Descent(problem, problem.spec.random(int(rng.integers(2**31))) if start == "random" else None)
        order = _orders(problem.spec, rng)[self.order]
        if start == "inward":
            descent.inward(None if self.order == "random" else order)
        return descent.run(order, self.sweeps)


_FEW, _MANY = 8, 64
_FAST = 3e6
"""Multiplications of all Gram matrices up to which a start takes about ten milliseconds."""

_CHOICES = {
    "order": ("random", "forward", "backward"),
    "start": ("inward", "same"),
    "scale": ("auto", "outputs", "plain"),
}
"""Settings that are one of a few words; the first is the default."""


def _is_chain(spec: PermutationSpec, state: StateDict) -> bool:
    """Say whether one layer makes the units of every group, along its first dimension, and at most one reads them.

    Plain recurrence, a square matrix from a group to itself, is no such chain.
    """
    for group in spec.groups:
        dims: dict[str, set[int]] = {}
        for axis in group.axes:
            if state[axis.param].dim() > 1:
                dims.setdefault(_layer(axis.param), set()).add(axis.dim)
        makers = [layer for layer, held in dims.items() if 0 in held]
        twice = [axis.param for axis in group.axes if axis.dim == 1 and (axis.param, 0) in _places(group)]
        if len(makers) != 1 or len(dims) > 2 or any(state[p].shape[0] == state[p].shape[1] for p in twice):
            return False
    return True


def _places(group: PermutationGroup) -> set[tuple[str, int]]:
    return {(axis.param, axis.dim) for axis in group.axes}


def _layer(param: str) -> str:
    """Name what a matrix belongs to: the module of a recurrent one, whose matrices make units together, or itself."""
    module, _, name = param.rpartition(".")
    return module if name.startswith(("weight_ih", "weight_hh", "weight_hr")) else param


def _shares(state: StateDict) -> dict[str, float]:
    return {name: max(1, *tensor.shape[:1]) ** -0.5 if tensor.dim() else 1.0 for name, tensor in state.items()}


def _orders(spec: PermutationSpec, rng: np.random.Generator) -> dict[str, Order]:
    forward = {group.name: place for place, group in enumerate(spec.groups)}
    return {
        "random": lambda names: list(map(str, rng.permutation(names))),
        "forward": lambda names: sorted(names, key=forward.__getitem__),
        "backward": lambda names: sorted(names, key=forward.__getitem__, reverse=True),
    }


def _message(best: Run, objectives: tuple[float, ...], sweeps: int) -> str:
    kept = f"best of {len(objectives)} restarts" if len(objectives) > 1 else f"{len(best.trace) - 1} sweeps"
    return kept if best.converged else f"{kept}, not converged after {sweeps} sweeps"
