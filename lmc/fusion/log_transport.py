"""Entropic transport between sets of any two sizes, in the log domain: potentials are kept as logarithms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDS, _NEAR, _INSIDE = 80, 8, 25


def entropic_plan(
    cost: NDArray[np.float64], reg: float, *, tolerance: float = 1e-6
) -> tuple[NDArray[np.float64], bool]:
    r"""Solve transport with uniform marginals and entropy.

    .. math:: \min_{\pi} \langle \pi, C \rangle + \epsilon \sum_{ij} \pi_{ij} \log \pi_{ij}

    A few scaling steps at a time run on a kernel that the potentials are absorbed into, so that nothing underflows and
    a step costs two products of a matrix with a vector. With little entropy the way there goes through more of it.

    Parameters
    ----------
    cost : array, shape (places, units)
        Finite.
    reg : float
        :math:`\epsilon`, in units of the cost.
    tolerance : float
        Largest relative error of a column's mass that is let pass; the rows' are exact.

    Returns
    -------
    plan : array, shape (places, units)
        Mass one.
    converged : bool
        Whether the columns' masses are within the tolerance.

    References
    ----------
    .. [1] Schmitzer. Stabilized Sparse Scaling Algorithms for Entropy Regularized Transport Problems. SISC 2019.
    """
    # Potentials that every row and every column has a pair of cost zero under: no row of the kernel vanishes.
    row = cost.min(axis=1)
    column = (cost - row[:, None]).min(axis=0)
    stages = max(0, math.ceil(math.log(max(float(cost.std()) / reg, 1e-300), 4)))
    for stage in range(stages, 0, -1):  # from much entropy to little: what is found first need only be near
        row, column, _ = _scaled(cost, reg * 4.0**stage, row, column, _NEAR, tolerance)
    row, column, converged = _scaled(cost, reg, row, column, _ROUNDS, tolerance)
    plan = np.exp((row[:, None] + column - cost) / reg)
    return plan / (len(plan) * plan.sum(axis=1, keepdims=True)), converged


def _scaled(
    cost: NDArray[np.float64],
    reg: float,
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    rounds: int,
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return better potentials, and whether the columns' masses are within the tolerance."""
    places, units = cost.shape
    converged = False
    for _ in range(rounds):
        kernel = np.exp((row[:, None] + column - cost) / reg)
        u, v = np.ones(places), np.ones(units)
        for _ in range(_INSIDE):
            v_next = 1 / (units * np.maximum(u @ kernel, 1e-300))
            u = 1 / (places * np.maximum(kernel @ v_next, 1e-300))
            v = v_next
            if max(np.abs(np.log(u)).max(), np.abs(np.log(v)).max()) > 100:
                break
        row, column = row + reg * np.log(u), column + reg * np.log(v)
        plan = np.exp((row[:, None] + column - cost) / reg)
        converged = bool(np.abs(plan.sum(axis=0) * units - 1).max() <= tolerance)
        if converged:
            break
    return row, column, converged
