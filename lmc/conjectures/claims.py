"""How surely a barrier lies below a tolerance or above it, and how sure many such claims are together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmc.barriers.intervals import barrier_interval, bootstrap_means
from lmc.barriers.scalars import rises

_LEAST = 1e-6
"""Smallest error probability that is told apart: the tails of means are not known further out."""

_STEPS = 22


class Rise:
    """The rise of every example along a path, and its resamples: all that claims about its barrier rest on.

    Parameters
    ----------
    values : array, shape (example, t)
        Loss (nats) or error of each example at each position.
    t : array, shape (t,), in [0, 1]
        Positions, both ends included.
    upper : float
        Largest possible barrier: 1 for errors.
    resamples, seed : int
        Of the bootstrap over examples.
    """

    def __init__(
        self, values: ArrayLike, t: ArrayLike, *, upper: float = np.inf, resamples: int = 2000, seed: int = 0
    ) -> None:
        self.rises = rises(values, t)
        self._resampled = bootstrap_means(self.rises, resamples=resamples, seed=seed)
        self._upper = upper

    @property
    def barrier(self) -> float:
        """Greatest mean rise above the chord."""
        return float(self.rises.mean(axis=0).max())

    def interval(self, confidence: float = 0.95) -> NDArray[np.float64]:
        """Return lower and upper bound of the barrier, shape (2,)."""
        return barrier_interval(self.rises, self._resampled, confidence, upper=self._upper)

    def p_below(self, tolerance: float) -> float:
        """Return the smallest error probability at which the barrier's upper bound is under the tolerance."""
        return self._smallest(lambda error: self.interval(1 - 2 * error)[1] < tolerance)

    def p_above(self, tolerance: float) -> float:
        """Return the smallest error probability at which the barrier's lower bound is over the tolerance."""
        return self._smallest(lambda error: self.interval(1 - 2 * error)[0] > tolerance)

    def _smallest(self, holds: Callable[[float], bool]) -> float:
        """Search between the least error and one half; 1 where the claim does not even hold at one half."""
        if holds(_LEAST):
            return _LEAST
        low, high = np.log(_LEAST), np.log(0.4999)
        if not holds(float(np.exp(high))):
            return 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if holds(float(np.exp(middle))) else (middle, high)
        return float(np.exp(high))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    r"""Return p-values that hold for all claims together, by Holm's step-down procedure.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\{1, (m - j + 1)\, p_{(j)}\}

    Parameters
    ----------
    p : array, shape (claim,)
        One for each claim; NaN for what is none.

    Returns
    -------
    float64 array, shape (claim,)
        Claims with an adjusted value of at most :math:`\alpha` are all true with probability :math:`1 - \alpha` at
        least, whatever their dependence.

    References
    ----------
    .. [1] Holm. A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics, 1979.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    claims = np.flatnonzero(np.isfinite(values))
    order = claims[np.argsort(values[claims], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
