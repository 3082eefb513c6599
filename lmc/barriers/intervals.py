"""How sure a barrier is, over the draw of the test examples: the networks are held fixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmc._errors import UsageError

_ROWS = 64
"""Resamples drawn at a time: enough for a fast matrix product, 5 MB of weights for 10,000 examples."""


def bootstrap_means(values: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> NDArray[np.float64]:
    """Return the means of resampled examples, the same resample for every column.

    Columns (positions, alignments, losses and errors) therefore stay paired: what they have in common cancels in
    their differences, as it does in a barrier.

    Parameters
    ----------
    values : array, shape (example, column)
        One value for each example.
    resamples : int
        Number of resamples, each of as many examples as there are, drawn with replacement.
    seed : int
        Of a generator of its own.

    Returns
    -------
    float64 array, shape (resample, column)

    Raises
    ------
    UsageError
        If there is no example or no resample.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) == 0 or resamples < 1:
        raise UsageError(f"A bootstrap needs examples x columns and a resample, got {matrix.shape} and {resamples}.")
    size = len(matrix)
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, matrix.shape[1]))
    for start in range(0, resamples, _ROWS):
        rows = means[start : start + _ROWS]
        drawn = (draw.integers(0, size, size=size, dtype=np.int32) for _ in rows)
        counts = np.stack([np.bincount(index, minlength=size) for index in drawn]).astype(np.float64)
        np.matmul(counts, matrix, out=rows)
    return means / size


def percentile_interval(resampled: NDArray[np.float64], confidence: float = 0.95) -> NDArray[np.float64]:
    """Return the interval between percentiles of the resamples: right for means.

    Parameters
    ----------
    resampled : array, shape (resample, ...)
        The statistic in each resample.
    confidence : float
        Share of the resamples inside.

    Returns
    -------
    float64 array, shape (..., 2)
        Lower and upper bound.
    """
    tail = (1 - confidence) / 2
    return np.moveaxis(np.quantile(resampled, [tail, 1 - tail], axis=0), 0, -1)


def barrier_interval(
    estimate: ArrayLike, resampled: NDArray[np.float64], confidence: float = 0.95, *, upper: float = np.inf
) -> NDArray[np.float64]:
    r"""Return an interval of a barrier, :math:`[\min(B^*_{lo}, 2B - B^*_{hi}),\; \max(B^*_{hi}, 2B - B^*_{lo})]`.

    A maximum over noisy positions lies too high, and the same maximum over resamples too high once more: where the
    curve is flat, the percentile interval :math:`[B^*_{lo}, B^*_{hi}]` moves away from the truth. Its reflection at
    the estimate (the basic interval) undoes that, and fails where a barrier close to 0 was seen as 0. This is the
    smallest interval with both in it, cut to what a barrier can be; it always holds the estimate. On test sets of 500
    and 2,000 drawn from the curves of an MNIST pair (plain, weight-matched, nearly flat) it held the true barrier of
    the grid in 94 to 99% of the cases at a nominal 95%, the percentiles alone in 72 to 96, the reflection in 67 to 95.
    Barriers that are truly 0 are held more often. Independent noise at neighbouring positions, which paths do not
    have, would lower a flat curve to 83%.

    Parameters
    ----------
    estimate : array, shape (...)
        The barrier of all examples.
    resampled : array, shape (resample, ...)
        The barrier of each resample.
    confidence : float
        Nominal coverage.
    upper : float
        Largest possible value: 1 for errors. The smallest is 0, since the ends are on the grid.

    Returns
    -------
    float64 array, shape (..., 2)
        Lower and upper bound; the estimate is never outside.

    References
    ----------
    .. [1] Davison and Hinkley. Bootstrap Methods and their Application. Cambridge, 1997. Section 5.2.
    """
    value = np.asarray(estimate, dtype=np.float64)
    low, high = np.moveaxis(percentile_interval(resampled, confidence), -1, 0)
    bounds = np.minimum(low, 2 * value - high), np.maximum(high, 2 * value - low)
    return np.stack(bounds, axis=-1).clip(0.0, upper)
