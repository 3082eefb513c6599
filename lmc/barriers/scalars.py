"""Barriers as numbers: a curve on a grid in, a scalar out, in float64. Leading dimensions of a curve are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmc._errors import GridError, unknown
from lmc.barriers.grid import require_ends


def chord_barrier(curve: ArrayLike, t: ArrayLike) -> Any:
    r"""Height of a curve above the chord between its ends.

    .. math:: B = \max_t \; L(t) - [(1-t) L(0) + t L(1)]

    Parameters
    ----------
    curve : array, shape (..., t)
        Loss (in nats) or error at each position; ``curve[..., 0]`` is model A, ``curve[..., -1]`` model B.
    t : array, shape (t,), in [0, 1]
        Positions, increasing; both ends included.

    Returns
    -------
    float or float64 array, shape (...)
        In the curve's units. Zero when the curve never rises above the chord.

    Raises
    ------
    GridError
        If an end is missing (a barrier without its ends is another quantity), or the shapes differ.

    References
    ----------
    .. [1] Entezari et al. The Role of Permutation Invariance in Linear Mode Connectivity. ICLR 2022.
    """
    values, positions = _checked(curve, t)
    return (values - _chord(values, positions)).max(axis=-1)


def mean_barrier(curve: ArrayLike, t: ArrayLike) -> Any:
    r"""Height of a curve above the mean of its ends.

    .. math:: B = \max_t \; L(t) - \tfrac12 [L(0) + L(1)]

    Parameters
    ----------
    curve : array, shape (..., t)
        Loss (in nats) or error at each position.
    t : array, shape (t,), in [0, 1]
        Positions, increasing; both ends included.

    Returns
    -------
    float or float64 array, shape (...)
        In the curve's units. The ends count too, so it is at least half of what the ends differ by.

    Raises
    ------
    GridError
        If an end is missing, or the shapes differ.

    References
    ----------
    .. [1] Frankle et al. Linear Mode Connectivity and the Lottery Ticket Hypothesis. ICML 2020.
    .. [2] Ainsworth et al. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023.
    """
    values, _ = _checked(curve, t)
    return values.max(axis=-1) - (values[..., 0] + values[..., -1]) / 2


def area_above_chord(curve: ArrayLike, t: ArrayLike) -> Any:
    r"""Signed area between a curve and the chord of its ends, by the trapezoidal rule.

    .. math:: S = \int_0^1 L(t) - [(1-t) L(0) + t L(1)] \; dt

    Parameters
    ----------
    curve : array, shape (..., t)
        Loss (in nats) or error at each position.
    t : array, shape (t,), in [0, 1]
        Positions, increasing; both ends included.

    Returns
    -------
    float or float64 array, shape (...)
        In the curve's units; parts below the chord count as negative.

    Raises
    ------
    GridError
        If an end is missing, or the shapes differ.

    References
    ----------
    .. [1] Peña et al. Re-basin via implicit Sinkhorn differentiation. CVPR 2023.
    """
    values, positions = _checked(curve, t)
    return np.trapezoid(values - _chord(values, positions), positions, axis=-1)


def rises(curve: ArrayLike, t: ArrayLike, baseline: str = "chord") -> NDArray[np.float64]:
    """Height of a curve above the baseline at every position; the barrier is the greatest of them.

    Parameters
    ----------
    curve : array, shape (..., t)
        Loss or error at each position, of a mean or of single examples: rises of examples average to that of the mean.
    t : array, shape (t,), in [0, 1]
        Positions, increasing; both ends included.
    baseline : {"chord", "mean"}
        What is subtracted.

    Returns
    -------
    float64 array, shape (..., t)
        In the curve's units. Exactly 0 at the ends, against the chord.

    Raises
    ------
    GridError
        If an end is missing, or the shapes differ.
    UsageError
        For an unknown baseline.
    """
    values, positions = _checked(curve, t)
    if baseline not in BARRIERS:
        raise unknown("baseline", baseline, BARRIERS)
    if baseline == "chord":
        return values - _chord(values, positions)
    return values - (values[..., :1] + values[..., -1:]) / 2


BARRIERS: Mapping[str, Callable[[ArrayLike, ArrayLike], Any]] = {"chord": chord_barrier, "mean": mean_barrier}
"""Baseline, as the schema names it, to the barrier against it."""


def _chord(values: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1 - t) * values[..., :1] + t * values[..., -1:]


def _checked(curve: ArrayLike, t: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, positions = np.asarray(curve, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if positions.ndim != 1 or values.shape[-1:] != positions.shape:
        raise GridError(f"The curve has shape {values.shape} and the grid {positions.shape}: the last must be equal.")
    require_ends(positions)
    if not np.isfinite(values).all():
        raise GridError("The curve is not finite everywhere (NaN or infinite): no barrier exists.")
    return values, positions
