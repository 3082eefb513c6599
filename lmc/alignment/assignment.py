"""Linear assignment: which unit of B goes where, given what each pairing is worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def assign(worth: NDArray[np.floating]) -> NDArray[np.int64]:
    """Solve a linear assignment problem exactly.

    Parameters
    ----------
    worth : array, shape (n, n)
        ``worth[i, j]``: what it is worth to put unit j of B in the place of unit i of A.

    Returns
    -------
    array of int, shape (n,)
        Unit of B for each place; no other assignment has a larger sum.

    References
    ----------
    .. [1] D. F. Crouse. On implementing 2D rectangular assignment algorithms. IEEE TAES 2016 (scipy's solver).
    """
    rows, columns = linear_sum_assignment(worth, maximize=True)
    permutation = np.empty(len(rows), dtype=np.int64)
    permutation[rows] = columns
    return permutation
