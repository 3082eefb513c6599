"""The inner product of parameters over soft permutations: one polynomial over all groups, its slope, its best step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lmc._types import Permutation, StateDict
from lmc.alignment.soft import Soft, matrices, moving_names, soft_permute
from lmc.alignment.weight_matching import inner
from lmc.symmetry import PermutationSpec


class RelaxedInner:
    r"""Sum over all pairs of models of the inner products of their permuted parameters.

    .. math:: f(P) = \sum_{i < j} \sum_{\text{parameters}} \langle P_i(X_i), P_j(X_j) \rangle

    Parameters
    ----------
    states : sequence of state dict
        The models; the first stays as it is, which loses nothing: only orders relative to each other count.
    spec : PermutationSpec
        What may be permuted.

    Notes
    -----
    Along a straight line the objective is a polynomial: each tensor is linear in each of its axes.
    """

    def __init__(self, states: Sequence[StateDict], spec: PermutationSpec) -> None:
        self.spec = spec
        names = moving_names(spec)
        self.fixed = {name: states[0][name].detach().double() for name in names}
        self.moving = [{name: state[name].detach().double() for name in names} for state in states[1:]]
        self.like = next(iter(self.fixed.values()), torch.zeros(1, dtype=torch.float64))
        held = set(names) | spec.buffers | set(spec.aliases)
        rest = [{name: tensor for name, tensor in state.items() if name not in held} for state in states]
        # What no group moves adds the same to every permutation.
        self._constant = sum(inner(rest[i], rest[j]) for j in range(len(rest)) for i in range(j))
        most = max((len(spec.axes_of[name]) for name in names), default=0)
        self.degree = most * min(2, len(self.moving))

    def __call__(self, softs: Sequence[Soft]) -> Tensor:
        """Return the objective at soft permutations of all models but the first, in float64."""
        total = self.like.new_full((), self._constant)
        for name, fixed in self.fixed.items():
            mixed = [
                soft_permute(self.spec, name, one[name], soft) for one, soft in zip(self.moving, softs, strict=True)
            ]
            held = fixed
            for one in mixed:
                total = total + (held * one).sum()
                held = held + one
        return total

    def at(self, permutations: Sequence[Permutation]) -> float:
        """Return the objective at permutations."""
        with torch.no_grad():
            return float(self([matrices(self.spec, one, self.like) for one in permutations]))

    def slope(self, softs: Sequence[Soft]) -> tuple[float, list[dict[str, Tensor]]]:
        """Return the objective and its gradient with respect to every matrix."""
        leaves = [{name: matrix.detach().requires_grad_() for name, matrix in soft.items()} for soft in softs]
        value = self(leaves)
        flat = [matrix for soft in leaves for matrix in soft.values()]
        found = iter(torch.autograd.grad(value, flat, allow_unused=True, materialize_grads=True))
        return float(value.detach()), [{name: next(found) for name in soft} for soft in leaves]

    def best_step(self, softs: Sequence[Soft], ends: Sequence[Soft]) -> tuple[float, float]:
        """Return the share of the way to the ends that is best, and the objective there: an exact line search."""

        def along(t: float) -> float:
            with torch.no_grad():
                return float(self([between(one, end, t) for one, end in zip(softs, ends, strict=True)]))

        return maximize_polynomial(along, self.degree)


def between(one: Soft, end: Soft, t: float) -> dict[str, Tensor]:
    """Return the matrices at a share of the way."""
    return {name: torch.lerp(matrix, end[name], t) for name, matrix in one.items()}


def maximize_polynomial(function: Callable[[float], float], degree: int) -> tuple[float, float]:
    """Return where in [0, 1] a polynomial of a known degree is largest, and its value there.

    It is read at Chebyshev's points, which determine it; the candidates are the roots of its slope and both ends.
    """
    nodes = (1 + np.cos(np.pi * np.arange(degree + 1) / max(degree, 1))) / 2
    values = np.array([function(float(t)) for t in nodes])
    curve = np.polynomial.Polynomial.fit(nodes, values, degree, domain=[0, 1])
    roots = curve.deriv().roots() if degree > 1 else np.empty(0)
    inside = [float(r.real) for r in roots if abs(r.imag) < 1e-9 and 0 < r.real < 1]
    candidates = {1.0: float(values[0]), 0.0: float(values[-1]), **{t: function(t) for t in inside}}
    best = max(candidates, key=lambda t: candidates[t])
    return best, candidates[best]
