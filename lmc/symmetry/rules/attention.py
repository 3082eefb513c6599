"""Scaled dot-product attention: queries meet keys in the inner axis, keys meet values in the positions."""

from __future__ import annotations

from lmc.symmetry.axes import Leaf, Product
from lmc.symmetry.walk import Op, Value, broadcast


def scaled_dot_product_attention(op: Op) -> Value:
    """``softmax(q k' / sqrt(d) + mask) v`` over (..., heads, positions, inner); grouped queries share key heads."""
    query, key, value, mask = (op.get(i) for i in range(4))
    if query.axes[-3].size != key.axes[-3].size:
        key, value = _repeated(key, query), _repeated(value, query)
    op.unify(query.axes[-1], key.axes[-1])
    op.unify(key.axes[-2], value.axes[-2])
    if op.get(5, False):
        op.freeze(query.axes[-2], key.axes[-2], why="causal order")
    leading = broadcast(op, [Value(v.axes[:-2]) for v in (query, key, value)], op.shape[:-2]).axes
    if isinstance(mask, Value):
        broadcast(op, [Value((*leading, query.axes[-2], key.axes[-2])), mask], (*op.shape[:-1], key.axes[-2].size))
    return Value((*leading, query.axes[-2], value.axes[-1]))


def _repeated(value: Value, query: Value) -> Value:
    heads = Product((value.axes[-3], Leaf(query.axes[-3].size // value.axes[-3].size)))
    return Value((*value.axes[:-3], heads, *value.axes[-2:]))


RULES = {"aten.scaled_dot_product_attention": scaled_dot_product_attention}
