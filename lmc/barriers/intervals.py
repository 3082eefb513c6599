"""How sure a barrier is, over the draw of the test examples: the networks are held fixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

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
        drawn = draw.integers(0, size, size=(len(rows), size), dtype=np.int32)
        counts = np.empty(drawn.shape)
        for count, index in zip(counts, drawn, strict=True):
            count[:] = np.bincount(index, minlength=size)
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
    rises: ArrayLike, resampled: NDArray[np.float64], confidence: float = 0.95, *, upper: float = np.inf
) -> NDArray[np.float64]:
    r"""Return an interval of a barrier, the maximum over positions of the mean rise :math:`h(t)` above its baseline.

    .. math:: \bigl[\, \max_t \{h(t) - c\, s(t)\},\; \max_t \{h(t) + (z + \gamma(t)) s(t)\} \,\bigr]

    A maximum over noisy positions lies too high, the more so the flatter the curve: its bias is bounded rather than
    estimated. Each :math:`h(t) + z s(t)` is an upper bound of its own position, so the greatest of them is one of the
    true maximum wherever that is, and needs no correction. The lower bound must hold at all positions that can be the
    maximum at once: :math:`c` is the quantile of the greatest studentised deviation among these, over the resamples.
    Where a single position stands out, :math:`c = z` and this is the usual interval. Losses have long tails, and a
    sample that lacks its tail looks both too low and too certain: :math:`\gamma(t)` lengthens a bound on the side of
    the tail by Johnson's term for skewness, and never shortens it. docs/intervals.md has the coverage.

    Parameters
    ----------
    rises : array, shape (..., example, t)
        Rise of each example above the baseline (:func:`lmc.barriers.rises`).
    resampled : array, shape (resample, ..., t)
        Mean rises of each resample.
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
    .. [1] Chernozhukov, Lee and Rosen. Intersection Bounds: Estimation and Inference. Econometrica, 2013.
    .. [2] Johnson. Modified t Tests and Confidence Intervals for Asymmetrical Populations. JASA, 1978.
    """
    height, error, skewness = _moments(np.asarray(rises, dtype=np.float64))
    tail = (1 - confidence) / 2
    z = _quantile_of_t(1 - tail, np.asarray(rises).shape[-2])
    above = height + error * (z + np.maximum(skewness, 0) * (2 * z**2 + 1))
    # What stays below another position's lower bound cannot be the maximum. Ends are certain: no error, no deviation.
    candidates = above >= (height - z * error).max(axis=-1, keepdims=True)
    c = np.maximum(_greatest_deviation(resampled - height, error, candidates, 1 - tail), z)[..., None]
    below = height - error * (c + np.maximum(-skewness, 0) * (2 * c**2 + 1))
    return np.stack([below.max(axis=-1), above.max(axis=-1)], axis=-1).clip(0.0, upper)


_SKEWEST = 0.12
"""Johnson's term is a first-order one: larger values are cut to this, half a standard error at 95%."""


def _moments(rises: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return mean, standard error, and skewness in units of the mean's Edgeworth expansion; shape (..., t) each."""
    examples = rises.shape[-2]
    mean = rises.mean(axis=-2)
    apart = rises - mean[..., None, :]
    squared = apart * apart
    spread = np.sqrt(squared.mean(axis=-2))
    third = (squared * apart).mean(axis=-2)
    skewness = np.divide(third, spread**3, out=np.zeros_like(mean), where=spread > 0) / (6 * np.sqrt(examples))
    return mean, spread / np.sqrt(examples), skewness.clip(-_SKEWEST, _SKEWEST)


def _quantile_of_t(level: float, examples: int) -> float:
    return float(stdtrit(max(examples - 1, 1), level))


def _greatest_deviation(
    deviations: NDArray[np.float64], error: NDArray[np.float64], candidates: NDArray[np.bool_], level: float
) -> NDArray[np.float64]:
    """Return the quantile, over the resamples, of the greatest studentised deviation among the candidates."""
    counted = candidates & (error > 0)
    scale = np.divide(1.0, error, out=np.zeros_like(error), where=counted)
    studentised = deviations * scale
    highest = np.where(counted, studentised, -np.inf).max(axis=-1)
    lowest = np.where(counted, -studentised, -np.inf).max(axis=-1)
    # Either sign tells how far a mean may lie from the truth; both together halve the noise of the quantile.
    return np.quantile(np.concatenate([highest, lowest]).clip(min=0.0), level, axis=0)
