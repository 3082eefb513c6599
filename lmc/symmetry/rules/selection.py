"""Selection: cutting an axis refines it into a sum; choosing positions by number keeps them where they are."""

from __future__ import annotations

from typing import Any

from lmc.symmetry.axes import Leaf, Term, split
from lmc.symmetry.walk import Op, Value, broadcast, takes_stacks, unknown


def _cut(axis: Term, start: int, stop: int) -> Term:
    """Return the stretch from ``start`` to ``stop``."""
    if start > 0:
        _, axis = split(axis, start) if start < axis.size else (None, Leaf(0))
    size = stop - start
    return split(axis, size)[0] if 0 < size < axis.size else axis if size else Leaf(0)


def _with(value: Value, dim: int, axis: Term) -> Value:
    return Value((*value.axes[:dim], axis, *value.axes[dim + 1 :]), uniform=value.uniform)


def slice_(op: Op) -> Value:
    """``x[..., start:stop:step, ...]``."""
    x, dim, start, stop, step = op.get(0), op.get(1, 0), op.get(2), op.get(3), op.get(4, 1)
    dim %= len(x.axes)
    axis = x.axes[dim]
    start, stop, step = slice(start, stop, step).indices(axis.size)
    if x.uniform:
        return _with(x, dim, Leaf(op.shape[dim]))
    if step != 1:
        op.freeze(axis, why="taken in steps")
        return _with(x, dim, op.frozen(op.shape[dim], "taken in steps"))
    return _with(x, dim, _cut(axis, start, stop))


@takes_stacks
def select(op: Op) -> Value:
    """``x[..., index, ...]``: one position is singled out, the others stay interchangeable."""
    x, dim, index = op.get(0), op.get(1), op.get(2)
    dim %= len(x.axes)
    if x.stacked is not None:
        if x.stacked[0] == dim:
            return x.stacked[1][index]
        op.collapse(x)
    if not x.uniform:
        op.take_apart(x.axes[dim])
        index %= x.axes[dim].size
        _cut(x.axes[dim], index, index + 1)
    return Value((*x.axes[:dim], *x.axes[dim + 1 :]), uniform=x.uniform)


def narrow(op: Op) -> Value:
    """``x.narrow(dim, start, length)``."""
    x, dim, start, length = (op.get(i) for i in range(4))
    return _with(x, dim % len(x.axes), Leaf(length) if x.uniform else _cut(x.axes[dim], start, start + length))


@takes_stacks
def divide(op: Op) -> list[Value]:
    """Chunk, split, tensor_split: stretches laid one after the other."""
    x = op.get(0)
    dim = (op.kwargs.get("dim", op.get(2, 0)) or 0) % len(x.axes)
    sizes = [shape[dim] for shape in op.shape]
    if x.stacked is not None:
        if x.stacked[0] == dim and set(sizes) == {1}:
            return [_with_one(piece, dim) for piece in x.stacked[1]]
        op.collapse(x)
    if set(sizes) == {1}:
        op.take_apart(x.axes[dim])
    pieces, start = [], 0
    for size in sizes:
        pieces.append(_with(x, dim, Leaf(size) if x.uniform else _cut(x.axes[dim], start, start + size)))
        start += size
    return pieces


def _with_one(value: Value, dim: int) -> Value:
    return Value((*value.axes[:dim], Leaf(1), *value.axes[dim:]), uniform=value.uniform)


@takes_stacks
def unbind(op: Op) -> list[Value]:
    """Every position of a dimension on its own."""
    x, dim = op.get(0), op.get(1, 0) or 0
    dim %= len(x.axes)
    if x.stacked is not None:
        if x.stacked[0] == dim:
            return list(x.stacked[1])
        op.collapse(x)
    if not x.uniform:
        op.take_apart(x.axes[dim])
        op.freeze(x.axes[dim], why="taken apart by position")
    return [Value((*x.axes[:dim], *x.axes[dim + 1 :]), uniform=x.uniform) for _ in op.shape]


def index(op: Op) -> Any:
    """``x[i, :, j]`` with tensors: indexed dimensions stay, the others pass through."""
    x, indices = op.get(0), op.get(1)
    used = [dim for dim, value in enumerate(indices) if value is not None]
    shapes = [value.shape for value in indices if value is not None]
    if used != list(range(used[0], used[-1] + 1)) or any(value.shape == x.shape for value in indices if value):
        return unknown(op)
    for dim in used:
        op.freeze(x.axes[dim], why="indexed by position")
    width = max(map(len, shapes))
    shape = op.shape[used[0] : used[0] + width]
    chosen = broadcast(op, [value for value in indices if value is not None], shape)
    return Value((*x.axes[: used[0]], *chosen.axes, *x.axes[used[-1] + 1 :]))


def index_select(op: Op) -> Value:
    """``x.index_select(dim, index)``."""
    x, dim, chosen = op.get(0), op.get(1), op.get(2)
    dim %= len(x.axes)
    op.freeze(x.axes[dim], why="indexed by position")
    return _with(x, dim, chosen.axes[0])


def gather(op: Op) -> Value:
    """``x.gather(dim, index)``: along that dimension positions are chosen by number, in the others both are one."""
    x, dim, index = op.get(0), op.get(1), op.get(2)
    dim %= len(x.axes)
    op.freeze(x.axes[dim], why="indexed by position")
    for other, (axis, own) in enumerate(zip(x.axes, index.axes, strict=True)):
        if other != dim:
            op.unify(axis if axis.size == own.size else _cut(axis, 0, own.size), own)
    return Value(index.axes)


def roll(op: Op) -> Value:
    """``x.roll(shifts, dims)``: positions of those dimensions change places, all others stay as they are."""
    return _moved(op, op.get(2))


def flip(op: Op) -> Value:
    """``x.flip(dims)``: the same, backwards."""
    return _moved(op, op.get(1))


def _moved(op: Op, dims: Any) -> Value:
    x = op.get(0)
    moved = {dim % len(x.axes) for dim in ([dims] if isinstance(dims, int) else dims or range(len(x.axes)))}
    op.freeze(*(x.axes[dim] for dim in moved), why="positions are shifted")
    return x


RULES = {
    "aten.roll": roll,
    "aten.flip": flip,
    "aten.slice": slice_,
    "aten.select": select,
    "aten.narrow": narrow,
    "aten.chunk": divide,
    "aten.split": divide,
    "aten.split_with_sizes": divide,
    "aten.tensor_split": divide,
    "aten.unbind": unbind,
    "aten.index": index,
    "aten.index_select": index_select,
    "aten.gather": gather,
}
