"""Reshaping: axes are regrouped, none is lost."""

from __future__ import annotations

from lmc.symmetry.axes import Leaf, reshape
from lmc.symmetry.walk import Op, Value


def regroup(op: Op) -> Value:
    """View, reshape, flatten, unflatten, squeeze, unsqueeze: the same numbers in the same order."""
    x = op.get(0)
    return Value(reshape(x.axes, op.shape), uniform=x.uniform)


def permute(op: Op) -> Value:
    """Dimensions in another order."""
    x = op.get(0)
    return Value(tuple(x.axes[dim] for dim in op.get(1)), uniform=x.uniform)


def transpose(op: Op) -> Value:
    """Two dimensions exchanged."""
    x, first, second = op.get(0), op.get(1, 0), op.get(2, 1)
    if len(x.axes) < 2:
        return x
    axes = list(x.axes)
    axes[first], axes[second] = axes[second], axes[first]
    return Value(tuple(axes), uniform=x.uniform)


def last_two(op: Op) -> Value:
    """``x.mT``: the last two dimensions exchanged."""
    x = op.get(0)
    return Value((*x.axes[:-2], x.axes[-1], x.axes[-2]), uniform=x.uniform)


def movedim(op: Op) -> Value:
    """Dimensions moved to other places."""
    x = op.get(0)
    count = len(x.axes)
    source, target = ([d] if isinstance(d, int) else list(d) for d in (op.get(1), op.get(2)))
    order: list[int] = [dim for dim in range(count) if dim not in [s % count for s in source]]
    for where, dim in sorted(zip((t % count for t in target), (s % count for s in source), strict=True)):
        order.insert(where, dim)
    return Value(tuple(x.axes[dim] for dim in order), uniform=x.uniform)


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
