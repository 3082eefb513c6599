"""Where the leaves of an axis lie: from the algebra to positions in a dimension."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmc.symmetry.axes import Leaf, Part, Product, Sum, Term, detach, resolve

Branch: TypeAlias = tuple[Leaf, ...]
"""Leaves that are multiplied with each other, outer first: a sum has a branch for each of its parts."""


def places(axis: Term) -> list[tuple[Branch, NDArray[np.int64]]]:
    """Say where everything lies in a dimension.

    Parameters
    ----------
    axis : Term
        What the dimension is made of.

    Returns
    -------
    list of (branch, array)
        ``array[i, j, ...]`` is the position that holds element i of the branch's first leaf, j of its second, and so
        on; together the arrays hold every position once. A leaf that lies scattered in a sum has one entry.
    """
    axis = resolve(axis)
    if isinstance(axis, Leaf):
        return [((axis,), np.arange(axis.size))]
    if isinstance(axis, Part):
        raise ValueError("a part of a leaf outside of a sum")
    return _product_places(axis) if isinstance(axis, Product) else _sum_places(axis)


def _product_places(axis: Product) -> list[tuple[Branch, NDArray[np.int64]]]:
    found: list[tuple[Branch, NDArray[np.int64]]] = [((), np.zeros((), dtype=np.int64))]
    for factor in axis.factors:
        inner = places(factor)
        found = [
            ((*branch, *more), positions[(..., *(None,) * own.ndim)] * factor.size + own)
            for branch, positions in found
            for more, own in inner
        ]
    return found


def _sum_places(axis: Sum) -> list[tuple[Branch, NDArray[np.int64]]]:
    found: list[tuple[Branch, NDArray[np.int64]]] = []
    scattered: dict[Leaf, NDArray[np.int64]] = {}
    offset = 0
    for part in map(resolve, axis.parts):
        if isinstance(part, Part):
            held = scattered.setdefault(part.leaf, np.full(part.leaf.size, -1))
            held[part.start : part.stop] = offset + np.arange(part.size)
        else:
            found += [(branch, positions + offset) for branch, positions in places(part)]
        offset += part.size
    return found + [((leaf,), held) for leaf, held in scattered.items()]


def slots(axis: Term, leaf: Leaf, over: Sequence[Leaf] = ()) -> NDArray[np.int64] | None:
    """Say where one leaf lies in a dimension.

    Parameters
    ----------
    axis : Term
        What the dimension is made of.
    leaf : Leaf
        What is looked for.
    over : sequence of Leaf
        Outer leaves of the same dimension, each index of which has a permutation of its own.

    Returns
    -------
    array, shape (blocks, copies, leaf size), or None
        ``positions[b, c, e]`` is where element ``e`` of copy ``c`` lies for the b-th joint index of ``over``; None
        where the dimension does not hold the leaf.
    """
    blocks = math.prod(outer.size for outer in over)
    found = []
    for branch, positions in places(axis):
        if leaf in branch:
            order = [branch.index(outer) for outer in over]
            last = branch.index(leaf)
            rest = [d for d in range(len(branch)) if d != last and d not in order]
            found.append(positions.transpose(*order, *rest, last).reshape(blocks, -1, leaf.size))
    return np.concatenate(found, axis=1) if found else None


def settle(axes: Sequence[Term]) -> None:
    """Cut every leaf whose scattered parts do not all lie, once each, in one sum of every dimension that has any."""
    changed = True
    while changed:
        changed = False
        for axis in axes:
            for part in _stray_parts(axis):
                if resolve(part.leaf) is part.leaf:
                    detach(part)
                    changed = True


def _stray_parts(axis: Term) -> Iterator[Part]:
    axis = resolve(axis)
    if isinstance(axis, Part):
        yield axis
    elif isinstance(axis, Product):
        for factor in axis.factors:
            yield from _stray_parts(factor)
    elif isinstance(axis, Sum):
        pieces: dict[Leaf, list[Part]] = {}
        for part in map(resolve, axis.parts):
            if isinstance(part, Part):
                pieces.setdefault(part.leaf, []).append(part)
            else:
                yield from _stray_parts(part)
        for leaf, held in pieces.items():
            covered = sorted((part.start, part.stop) for part in held)
            ends = [0, *(stop for _, stop in covered)]
            if [start for start, _ in covered] != ends[:-1] or ends[-1] != leaf.size:
                yield from held
