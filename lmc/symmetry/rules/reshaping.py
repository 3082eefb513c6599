"""Reshaping: axes are regrouped, none is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lmc.symmetry.axes import Leaf, leaves, reshape, split
from lmc.symmetry.walk import Op, Value, stack, takes_stacks


@takes_stacks
def regroup(op: Op) -> Value:
    """View, reshape, flatten, unflatten, squeeze, unsqueeze: the same numbers in the same order."""
    return _regroup(op, op.get(0), tuple(op.shape))


def _regroup(op: Op, x: Value, shape: tuple[int, ...]) -> Value:
    if x.stacked is not None:
        dim, pieces = x.stacked
        place = _place(x.shape, shape, dim)
        if place is not None:
            return stack(place, [_regroup(op, piece, _without(shape, place)) for piece in pieces])
        op.collapse(x)
    apart = next((dim for dim in range(len(shape)) if (op.index, dim) in op.apart), None)
    if apart is not None and not x.uniform:
        return _taken_apart(x, shape, apart)
    known = {leaf for axis in x.axes for leaf in leaves(axis)}
    axes = reshape(x.axes, shape)
    born = {axis: (op.index, dim) for dim, axis in enumerate(axes) if isinstance(axis, Leaf) and axis not in known}
    op.trace.born.update(born)
    return Value(axes, uniform=x.uniform)


def _place(before: tuple[int, ...], after: tuple[int, ...], dim: int) -> int | None:
    """Return where a dimension lies after a reshape that leaves it alone, or None."""
    ahead = math.prod(before[:dim])
    for place, size in enumerate(after):
        if size == before[dim] and math.prod(after[:place]) == ahead:
            return place
    return None


def _taken_apart(x: Value, shape: tuple[int, ...], dim: int) -> Value:
    """Reshape so that what lies at each index of one new dimension has axes of its own."""
    ahead, count, behind = shape[:dim], shape[dim], shape[dim + 1 :]
    *outer, rest = reshape(x.axes, (*ahead, count * math.prod(behind)))
    pieces = []
    for left in range(count, 0, -1):
        piece, rest = split(rest, rest.size // left) if left > 1 else (rest, rest)
        pieces.append(Value((*outer, *reshape([piece], behind))))
    return stack(dim, pieces)


def _without(things: tuple, dim: int) -> tuple:
    return (*things[:dim], *things[dim + 1 :])


def _reordered(x: Value, order: Sequence[int]) -> Value:
    """Put dimensions in another order; stacked tensors move along."""
    if x.stacked is not None:
        dim, pieces = x.stacked
        inner = [d - (d > dim) for d in order if d != dim]
        return stack(list(order).index(dim), [_reordered(piece, inner) for piece in pieces])
    return Value(tuple(x.axes[dim] for dim in order), uniform=x.uniform)


@takes_stacks
def permute(op: Op) -> Value:
    """Dimensions in another order."""
    x = op.get(0)
    return _reordered(x, [dim % len(x.axes) for dim in op.get(1)])


@takes_stacks
def transpose(op: Op) -> Value:
    """Two dimensions exchanged."""
    x, first, second = op.get(0), op.get(1, 0), op.get(2, 1)
    order = list(range(len(x.axes)))
    if len(order) > 1:
        order[first], order[second] = order[second], order[first]
    return _reordered(x, order)


def last_two(op: Op) -> Value:
    """``x.mT``: the last two dimensions exchanged."""
    x = op.get(0)
    return Value((*x.axes[:-2], x.axes[-1], x.axes[-2]), uniform=x.uniform)


@takes_stacks
def movedim(op: Op) -> Value:
    """Dimensions moved to other places."""
    x = op.get(0)
    count = len(x.axes)
    source, target = ([d] if isinstance(d, int) else list(d) for d in (op.get(1), op.get(2)))
    order: list[int] = [dim for dim in range(count) if dim not in [s % count for s in source]]
    for where, dim in sorted(zip((t % count for t in target), (s % count for s in source), strict=True)):
        order.insert(where, dim)
    return _reordered(x, order)


def expand(op: Op) -> Value:
    """Dimensions of size one repeated: along the new positions nothing differs, so they are free."""
    x = op.get(0)
    offset = len(op.shape) - len(x.axes)
    axes = [x.axes[dim - offset] if dim >= offset else Leaf(1) for dim in range(len(op.shape))]
    wide = (Leaf(n) if axis.size == 1 and n != 1 else axis for n, axis in zip(op.shape, axes, strict=True))
    return Value(tuple(wide), uniform=x.uniform)


_REGROUP = "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as _reshape_alias view_copy"

RULES = {
    **{f"aten.{name}": regroup for name in _REGROUP.split()},
    "aten.permute": permute,
    "aten.transpose": transpose,
    "aten.swapaxes": transpose,
    "aten.t": transpose,
    "aten.numpy_T": lambda op: Value(tuple(reversed(op.get(0).axes)), uniform=op.get(0).uniform),
    "aten.mT": last_two,
    "aten.movedim": movedim,
    "aten.expand": expand,
    "aten.expand_as": expand,
    "aten.broadcast_to": expand,
}
