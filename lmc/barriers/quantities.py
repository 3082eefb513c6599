r"""What else the values of single examples tell beside the two barriers; in float64, nothing is evaluated here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmc._errors import GridError
from lmc.barriers.scalars import chord_barrier


def end_curvature(curve: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
    r"""Second derivative of a curve along the path at both of its ends, from the three positions next to each.

    .. math:: L''(0) \approx \frac{2}{t_2 - t_0} \left[\frac{L_2 - L_1}{t_2 - t_1} - \frac{L_1 - L_0}{t_1 - t_0}\right]

    Exact for parabolas; otherwise it is the second derivative at a place between the three positions, so that its
    error falls in proportion to the grid's spacing.

    Parameters
    ----------
    curve : array, shape (..., t)
        Loss or error at each position.
    t : array, shape (t,), in [0, 1]
        Positions, increasing.

    Returns
    -------
    float64 array, shape (..., 2)
        At the first and at the last position; in the curve's units, since t has none.

    Raises
    ------
    GridError
        If there are fewer than three positions, or the shapes differ.
    """
    values, at = np.asarray(curve, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if at.ndim != 1 or at.size < 3 or values.shape[-1:] != at.shape:
        raise GridError(f"A curvature needs three positions and a value at each; got {at.shape} and {values.shape}.")

    def bend(i: int, j: int, k: int) -> NDArray[np.float64]:
        first = (values[..., j] - values[..., i]) / (at[j] - at[i])
        second = (values[..., k] - values[..., j]) / (at[k] - at[j])
        return 2 * (second - first) / (at[k] - at[i])

    return np.stack([bend(0, 1, 2), bend(-3, -2, -1)], axis=-1)


def example_barrier(example_values: ArrayLike, t: ArrayLike) -> NDArray[np.float32]:
    """Height of each example's own curve above its own chord: which examples break between the ends.

    Its mean is no barrier: examples reach their height at different positions, so it is at least the chord barrier.

    Parameters
    ----------
    example_values : array, shape (..., t, example)
        Loss of each example at each position.
    t : array, shape (t,), in [0, 1]
        Positions, increasing; both ends included.

    Returns
    -------
    float32 array, shape (..., example)
        Zero or more, in the values' units.

    Raises
    ------
    GridError
        If an end is missing, or the shapes differ.
    """
    values = np.asarray(example_values)
    return np.asarray(chord_barrier(np.moveaxis(values, -2, -1), t), dtype=np.float32)


def class_barriers(
    example_values: ArrayLike, targets: ArrayLike, t: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Barrier of each class: the chord barrier of the mean curve of its examples.

    Parameters
    ----------
    example_values : array, shape (..., t, example)
        Loss or error of each example at each position.
    targets : array of int, shape (example,)
        Class of each example.
    t : array, shape (t,), in [0, 1]
        Positions, increasing; both ends included.

    Returns
    -------
    classes : array, shape (class,)
        Those that have an example, increasing.
    barriers : float64 array, shape (..., class)
        In the values' units.

    Raises
    ------
    GridError
        If an end is missing, or the shapes differ.
    """
    values, labels = np.asarray(example_values), np.asarray(targets)
    if values.shape[-1:] != labels.shape:
        raise GridError(f"{values.shape[-1]} examples have {labels.shape} targets: one each is needed.")
    classes = np.unique(labels)
    means = [values[..., labels == one].mean(axis=-1, dtype=np.float64) for one in classes]
    return classes.astype(np.int64), np.stack([chord_barrier(mean, t) for mean in means], axis=-1)


def broken_share(example_correct: ArrayLike, t: ArrayLike) -> NDArray[np.float64]:
    """Share of examples that both ends have right and the midpoint has wrong.

    Parameters
    ----------
    example_correct : bool array, shape (..., t, example)
        Whether each example is classified correctly at each position.
    t : array, shape (t,), in [0, 1]
        Positions, among them 1/2.

    Returns
    -------
    float64 array, shape (...), in [0, 1]

    Raises
    ------
    GridError
        If the midpoint is no position.
    """
    right, at = np.asarray(example_correct, dtype=bool), np.asarray(t)
    middle: Any = np.flatnonzero(at == 0.5)
    if not middle.size:
        raise GridError("The midpoint 1/2 is not on the grid.")
    both = right[..., 0, :] & right[..., -1, :]
    return (both & ~right[..., middle[0], :]).mean(axis=-1, dtype=np.float64)
