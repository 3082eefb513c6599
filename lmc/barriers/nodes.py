"""How sure a number over pairs of models is, over the draw of the models: pairs that share one are not independent."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from lmc._errors import UsageError

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], ArrayLike]
"""Values of the pairs, shape (pair, ...), and their weights, shape (pair,), which add to 1, to a number or an array."""

_FEWEST = 3


def node_bootstrap(
    pair_values: ArrayLike,
    pairs: Sequence[tuple[Hashable, Hashable]] | NDArray[np.generic],
    *,
    statistic: Statistic | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return a statistic over pairs of models when the models, not the pairs, are drawn again.

    A pair counts as often as both its models were drawn, the product of the two. Pairs of a model with itself, which
    a model drawn twice would make, are no measurement and are dropped.

    Parameters
    ----------
    pair_values : array, shape (pair, ...)
        One value, or several, of each pair: barriers, say.
    pairs : sequence of (model, model), length pair
        Names or numbers of the two; pairs that were not measured are left out.
    statistic : callable, optional
        Of values and weights; the weighted mean by default.
    resamples, seed : int
        Of a generator of its own. Resamples without a pair are drawn anew.

    Returns
    -------
    float64 array, shape (resample, ...)

    Raises
    ------
    UsageError
        If there are fewer than 3 models, a pair of a model with itself, a pair twice, or a value that is not finite.

    References
    ----------
    .. [1] Snijders and Borgatti. Non-Parametric Standard Errors and Tests for Network Statistics. Connections, 1999.
    """
    values, ends, models = _checked(pair_values, pairs, resamples)
    draw = np.random.default_rng(seed)
    summarise = statistic or _mean
    found = []
    while len(found) < resamples:
        counts = draw.multinomial(models, np.full(models, 1 / models))
        weights = (counts[ends[:, 0]] * counts[ends[:, 1]]).astype(np.float64)
        if weights.any():
            found.append(np.asarray(summarise(values, weights / weights.sum()), dtype=np.float64))
    return np.stack(found)


def node_interval(
    pair_values: ArrayLike,
    pairs: Sequence[tuple[Hashable, Hashable]] | NDArray[np.generic],
    confidence: float = 0.95,
    *,
    statistic: Statistic | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""Return an interval of a statistic over pairs of models, as sure as the number of models allows.

    The percentiles of :func:`node_bootstrap`, stretched away from the estimate by
    :math:`\sqrt{n/(n-1)}\; t_{n-1} / z` for n models: resampling shows too little of the variance of few models, and
    a normal quantile too little of its uncertainty. With effects of models and of pairs it held the mean in 92 to 99%
    of cases for 4 to 20 models at a nominal 95% (docs/intervals.md), and in more where only pairs differ.

    Parameters
    ----------
    pair_values, pairs, statistic, resamples, seed
        As in :func:`node_bootstrap`.
    confidence : float
        Nominal coverage.

    Returns
    -------
    float64 array, shape (..., 2)
        Lower and upper bound.

    Raises
    ------
    UsageError
        As :func:`node_bootstrap`.
    """
    values, _, models = _checked(pair_values, pairs, resamples)
    even = np.full(len(values), 1 / len(values))
    estimate = np.asarray((statistic or _mean)(values, even), dtype=np.float64)[..., None]
    resampled = node_bootstrap(values, pairs, statistic=statistic, resamples=resamples, seed=seed)
    tail = (1 - confidence) / 2
    bounds = np.moveaxis(np.quantile(resampled, [tail, 1 - tail], axis=0), 0, -1)
    stretch = np.sqrt(models / (models - 1)) * stdtrit(models - 1, tail) / ndtri(tail)
    return estimate + stretch * (bounds - estimate)


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.tensordot(weights, values, axes=1)


def _checked(
    pair_values: ArrayLike, pairs: Sequence[tuple[Hashable, Hashable]] | NDArray[np.generic], resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], int]:
    """Return values, pairs as places in the list of models, and the number of models."""
    values, named = np.asarray(pair_values, dtype=np.float64), [tuple(pair) for pair in pairs]
    if values.ndim == 0 or len(values) != len(named) or any(len(pair) != 2 for pair in named):
        raise UsageError(f"Each value needs its pair of two models: {values.shape} values, {len(named)} pairs.")
    if not np.isfinite(values).all():
        raise UsageError("A value of a pair is not finite (NaN or infinite): leave pairs without a value out.")
    place: dict[Hashable, int] = {}
    ends = np.array([[place.setdefault(model, len(place)) for model in pair] for pair in named], dtype=np.intp)
    if len(place) < _FEWEST or resamples < 1:
        raise UsageError(f"{_FEWEST} models and a resample are needed, got {len(place)} and {resamples}.")
    if len({frozenset(pair) for pair in named if pair[0] != pair[1]}) != len(named):
        raise UsageError("A pair is of two different models, and is given once, whichever comes first.")
    return values, ends, len(place)
