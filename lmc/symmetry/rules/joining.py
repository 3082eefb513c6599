"""Concatenation, stacking and padding: axes are laid one after the other."""

from __future__ import annotations

from lmc.symmetry.axes import Leaf, Part, Product, Sum, Term
from lmc.symmetry.walk import Op, Value, broadcast, fill


def cat(op: Op) -> Value:
    """The joined dimension is a sum; all others are one."""
    tensors = [value for value in op.get(0) if value.shape != (0,)]
    dim = (op.get(1, 0) or 0) % len(op.shape)
    axes = list(broadcast(op, [_without(value, dim) for value in tensors], _skip(op.shape, dim)).axes)
    axes.insert(dim, Sum(tuple(Leaf(v.axes[dim].size) if v.uniform else v.axes[dim] for v in tensors)))
    return Value(tuple(axes), uniform=False)


def stack(op: Op) -> Value:
    """A new dimension whose positions differ; all others are one."""
    tensors = op.get(0)
    dim = (op.get(1, 0) or 0) % len(op.shape)
    axes = list(broadcast(op, tensors, _skip(op.shape, dim)).axes)
    axes.insert(dim, op.frozen(len(tensors), "stacked tensors"))
    return Value(tuple(axes))


def _without(value: Value, dim: int) -> Value:
    return Value(_skip(value.axes, dim), uniform=value.uniform)


def _skip(things, dim: int):
    return (*things[:dim], *things[dim + 1 :])


def pad(op: Op) -> Value:
    """Zeros on both sides of a dimension: front and back are interchangeable, the middle is what it was.

    The parts are cut from one leaf, so that a stream to which option-A shortcuts are added keeps the symmetry of its
    new channels (He et al. 2016).
    """
    x, widths, mode, fill_value = op.get(0), op.get(1), op.get(2, "constant"), op.get(3)
    axes = list(x.axes)
    for pair in range(len(widths) // 2):
        front, back = widths[2 * pair], widths[2 * pair + 1]
        dim = len(axes) - 1 - pair
        if front or back:
            axes[dim] = _padded(op, axes[dim], front, back, mode, fill_value)
    return Value(tuple(axes))


def _padded(op: Op, axis: Term, front: int, back: int, mode: str, fill_value: float | None) -> Term:
    if mode != "constant" or front < 0 or back < 0:
        op.freeze(axis, why=f"{mode} padding")
        return op.frozen(axis.size + front + back, f"{mode} padding")
    new = Leaf(front + back)
    parts = [Part(new, 0, front)] if front else []
    parts = [*parts, axis, *([Part(new, front, front + back)] if back else [])]
    return Sum(tuple(parts))


def repeat(op: Op) -> Value:
    """Copies laid one after the other: copy x position."""
    x, times = op.get(0), op.get(1)
    times = (*(1 for _ in range(len(x.axes) - len(times))), *times)
    axes = (*(Leaf(1) for _ in range(len(times) - len(x.axes))), *x.axes)
    return Value(tuple(Product((Leaf(n), axis)) for n, axis in zip(times, axes, strict=True)), uniform=x.uniform)


def repeat_interleave(op: Op) -> Value:
    """Each position several times: position x copy."""
    x, times, dim = op.get(0), op.get(1), op.get(2)
    if not isinstance(times, int) or dim is None:
        for value in op.values:
            op.freeze(*value.axes)
        return fill(op.shape, op.frozen)
    axes = list(x.axes)
    axes[dim] = Product((axes[dim], Leaf(times)))
    return Value(tuple(axes), uniform=x.uniform)


def copy(op: Op) -> Value:
    """``x.copy_(y)``: what is written lies where it is written."""
    target, source = op.get(0), op.get(1)
    if isinstance(source, Value):
        for axis, own in zip(reversed(target.axes), reversed(source.axes), strict=False):
            if axis.size == own.size and not source.uniform:
                op.unify(axis, own)
    return Value(target.axes)


RULES = {
    "aten.cat": cat,
    "aten.concat": cat,
    "aten.concatenate": cat,
    "aten.stack": stack,
    "aten.pad": pad,
    "aten.constant_pad_nd": pad,
    "aten.repeat": repeat,
    "aten.tile": repeat,
    "aten.repeat_interleave": repeat_interleave,
    "aten.copy_": copy,
}
