"""Sinkhorn's operator in the log domain, with its exact gradient: from any matrix to a doubly stochastic one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sinkhorn(
    logits: Tensor, start: Tensor | None = None, *, iterations: int = 100, tolerance: float = 1e-3
) -> tuple[Tensor, Tensor]:
    r"""Scale ``exp(logits)`` to row and column sums of one.

    .. math:: P_{ij} = \exp(Z_{ij} + u_i + v_j), \qquad P 1 = 1, \quad P^\top 1 = 1

    Logarithms are what is iterated: scalings underflow where the logits are large, and what comes out then is no
    doubly stochastic matrix. The gradient is that of the solution, found without storing the iterations.

    Parameters
    ----------
    logits : Tensor, shape (blocks, n, n)
        Any finite numbers; gradients flow into it.
    start : Tensor, shape (blocks, 1, n), optional
        Where the column potentials start: those of a nearby matrix save most iterations.
    iterations : int
        Most of them.
    tolerance : float
        Largest error of a row's sum that is let pass; columns are exact.

    Returns
    -------
    tuple of Tensor
        The matrices, and the column potentials to start from next time.

    References
    ----------
    .. [1] Eisenberger et al. A Unified Framework for Implicit Sinkhorn Differentiation. CVPR 2022.
    """
    with torch.no_grad():
        column = torch.zeros_like(logits[:, :1]) if start is None else start
        row = -(logits + column).logsumexp(2, keepdim=True)
        for _ in range(iterations):
            column = -(logits + row).logsumexp(1, keepdim=True)
            update = -(logits + column).logsumexp(2, keepdim=True)
            error = (row - update).expm1().abs().max()
            if error <= tolerance:
                break
            row = update
    return _Implicit.apply(logits, row + column), column  # pyright: ignore[reportReturnType]


class _Implicit(torch.autograd.Function):
    """``exp(logits + potentials)``, the potentials following the logits so that the sums stay."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, potentials: Tensor) -> Tensor:
        matrix = (logits + potentials).exp()
        ctx.save_for_backward(matrix)
        return matrix

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (matrix,) = ctx.saved_tensors
        flow = matrix * slopes[0]
        rows, columns = flow.sum(2, keepdim=True), flow.sum(1, keepdim=True)
        # What is taken off rows and columns so that the flow's own sums are zero, by alternating projections: each
        # round is two products of a matrix with a vector.
        column = torch.zeros_like(columns)
        for _ in range(_ROUNDS):
            row = rows - matrix @ column.mT
            column = columns - row.mT @ matrix
        row = rows - matrix @ column.mT
        return flow - matrix * (row + column), None


_ROUNDS = 30
"""Of the backward pass: errors shrink in each by the square of the matrix's second singular value."""


def marginal_error(matrix: Tensor) -> float:
    """Return the largest distance of a row's or column's sum from one."""
    return max(float((matrix.sum(dim) - 1).abs().max()) for dim in (1, 2))
