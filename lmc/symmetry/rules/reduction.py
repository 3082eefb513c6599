"""Reductions treat every position alike; orderings and running sums do not."""

from __future__ import annotations

from typing import Any

from lmc.symmetry.axes import Leaf
from lmc.symmetry.walk import Op, Value, broadcast


def reduce(op: Op) -> Any:
    """Sum, mean, maximum and the like over some dimensions or all."""
    x = op.get(0)
    if isinstance(op.get(1), Value):  # torch.max(a, b)
        return broadcast(op, op.values, op.shape)
    if isinstance(op.shape, list):
        for value in op.values:
            op.freeze(*value.axes, why="returns positions")
        return [Value(tuple(op.frozen(size) for size in shape)) for shape in op.shape]
    dims = op.kwargs.get("dim", op.get(1)) if op.schema[1:2] in (("dim",), ()) else op.kwargs.get("dim", op.get(2))
    return _drop(x, dims, op.shape)


def norm(op: Op) -> Value:
    """A norm over some dimensions or all."""
    return _drop(op.get(0), op.kwargs.get("dim", op.get(2)), op.shape)


def _drop(x: Value, dims: Any, shape: Any) -> Value:
    count = len(x.axes)
    gone = (
        set(range(count))
        if dims is None or dims == []
        else {d % count for d in ([dims] if isinstance(dims, int) else dims)}
    )
    if len(shape) == count:
        return Value(tuple(Leaf(1) if dim in gone else axis for dim, axis in enumerate(x.axes)))
    return Value(tuple(axis for dim, axis in enumerate(x.axes) if dim not in gone))


def along(op: Op) -> Any:
    """Freeze the dimension along which order matters (``cumsum``, ``sort``, ``argmax``); the others pass through."""
    x = op.get(0)
    dim = next((a for a in (*op.args[1:], op.kwargs.get("dim")) if isinstance(a, int)), None)
    if op.name == "aten.topk":
        dim = op.get(2, -1)
    if dim is None:
        op.freeze(*x.axes, why="order matters")
        dims = set(range(len(x.axes)))
    else:
        dims = {dim % len(x.axes)}
        op.freeze(x.axes[dim], why="order matters")
    shapes = op.shape if isinstance(op.shape, list) else [op.shape]
    outs = [_along(op, x, dims, shape) for shape in shapes]
    return outs if isinstance(op.shape, list) else outs[0]


def _along(op: Op, x: Value, dims: set[int], shape: tuple[int, ...]) -> Value:
    if len(shape) == len(x.axes):
        return Value(
            tuple(op.frozen(n) if d in dims else axis for d, (n, axis) in enumerate(zip(shape, x.axes, strict=True)))
        )
    return Value(tuple(axis for d, axis in enumerate(x.axes) if d not in dims))


RULES = {
    **{f"aten.{name}": reduce for name in "sum mean amax amin prod var std any all logsumexp nansum max min".split()},
    "aten.norm": norm,
    "aten.linalg_vector_norm": norm,
    **{f"aten.{name}": along for name in "cumsum cumprod argmax argmin sort argsort topk".split()},
}
