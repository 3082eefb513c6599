"""What figures of all pairs share: values of pairs as a square, similar checkpoints side by side, their names short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from lmc._errors import UsageError

CHOSEN = "the method chosen for each pair"
MOST_WRITTEN = 10  # checkpoints, up to which there is room for a number in each cell
_MOST_NAMED = 40  # ticks with a name
_MOST_ROOMY = 16  # of them, above which they are small
_ACROSS = 36  # characters beside each other, in one column of a paper
_LONGEST = 22  # characters of a name


def pairs_of(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Return the names of each pair, in the order of the dataset.

    Raises
    ------
    UsageError
        Where there are no pairs, or one pair of names is there twice: a square has one cell for it.
    """
    if "pair" not in dataset.dims or not dataset.sizes["pair"]:
        raise UsageError("The dataset holds no pairs (dim 'pair'): there is no matrix to draw.")
    pairs = [(str(a), str(b)) for a, b in zip(dataset["a"].values, dataset["b"].values, strict=True)]
    seen: set[frozenset[str]] = set()
    for pair in map(frozenset, pairs):
        if pair in seen:
            one = " and ".join(sorted(pair))
            raise UsageError(f"{one} are a pair twice: choose one part of the dataset, as in dataset.isel(pair=...).")
        seen.add(pair)
    return pairs


def models_of(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return every checkpoint of the pairs once, as they come."""
    return list(dict.fromkeys(name for pair in pairs for name in pair))


def values_of(dataset: xr.Dataset, values: xr.DataArray, alignment: str) -> NDArray[np.float64]:
    """Return the value of each pair with one alignment, or with that which `CHOSEN` for it."""
    if alignment != CHOSEN:
        return values.sel(alignment=alignment).values.astype(np.float64)
    names = [str(name) for name in dataset["alignment"].values]
    table = values.transpose("pair", "alignment").values
    chosen = dataset["method"].values
    return np.array([row[names.index(str(name))] for row, name in zip(table, chosen, strict=True)], dtype=np.float64)


def square(pairs: Sequence[tuple[str, str]], models: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of pairs as a symmetric matrix, NaN on the diagonal and where there is no pair."""
    place = {name: i for i, name in enumerate(models)}
    matrix = np.full((len(models), len(models)), np.nan)
    for (a, b), value in zip(pairs, values, strict=True):
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    return matrix


def clusters(distances: NDArray[np.float64]) -> tuple[list[int], NDArray[np.float64] | None]:
    """Return an order with close checkpoints side by side, and the tree behind it: average linkage.

    Parameters
    ----------
    distances : array, shape (n, n)
        Symmetric, with any diagonal. What is not known counts as far.

    Returns
    -------
    tuple
        Indices, and the linkage matrix of scipy; None for fewer than three checkpoints.
    """
    count = len(distances)
    known = distances[np.isfinite(distances)]
    if count < 3 or not known.size:
        return list(range(count)), None
    filled = np.where(np.isfinite(distances), distances, known.max())
    np.fill_diagonal(filled, 0.0)
    condensed = squareform(filled, checks=False).clip(min=0.0)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    return [int(leaf) for leaf in leaves_list(tree)], tree


def short_names(models: Sequence[str]) -> list[str]:
    """Return names without folder and ending, in the middle of which what is too long is left out; all distinct."""
    stems = [PurePath(name).stem for name in models]
    names = stems if len(set(stems)) == len(models) else list(models)
    if len(names) > 1 and max(map(len, names)) > _LONGEST:
        differing = (i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1)
        shared = next(differing, 0)
        names = ["…" + name[shared:] if shared > 3 else name for name in names]
    return [name if len(name) <= _LONGEST else f"…{name[-_LONGEST:]}" for name in names]


def label_cells(ax: Axes, names: Sequence[str]) -> None:
    """Name rows and columns, each of them or, of very many, every few."""
    step = -(-len(names) // _MOST_NAMED)
    places = list(range(0, len(names), step))
    upright = max(map(len, names)) * len(places) > _ACROSS
    ax.set_xticks(places, [names[i] for i in places], rotation=90 if upright else 0)
    ax.set_yticks(places, [names[i] for i in places])
    ax.tick_params(length=0)
    if len(places) > _MOST_ROOMY:
        ax.tick_params(labelsize="xx-small")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
