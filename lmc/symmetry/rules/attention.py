"""Scaled dot-product attention: queries meet keys in the inner axis, keys meet values in the positions."""

from __future__ import annotations

from lmc.symmetry.axes import Leaf, Product
from lmc.symmetry.rules.contraction import matmul
from lmc.symmetry.rules.elementwise import elementwise, softmax
from lmc.symmetry.walk import Op, Value


def scaled_dot_product_attention(op: Op) -> Value:
    """``softmax(q k' / sqrt(d) + mask) v`` over (..., heads, positions, inner); grouped queries share key heads."""
    query, key, value, mask = (op.get(i) for i in range(4))
    if len(query.axes) > 2 and query.axes[-3].size != key.axes[-3].size:
        key, value = _repeated(key, query), _repeated(value, query)
    if op.get(5, False):
        op.freeze(query.axes[-2], key.axes[-2], why="causal order")
    shape = (*op.shape[:-1], key.axes[-2].size)
    scores = op.part(matmul, query, Value((*key.axes[:-2], key.axes[-1], key.axes[-2])), shape=shape)
    if isinstance(mask, Value):
        scores = op.part(elementwise, scores, mask, shape=shape)
    weights = op.part(softmax, scores, -1, shape=shape)
    return op.part(matmul, weights, value, shape=op.shape)


def _repeated(value: Value, query: Value) -> Value:
    heads = Product((value.axes[-3], Leaf(query.axes[-3].size // value.axes[-3].size)))
    return Value((*value.axes[:-3], heads, *value.axes[-2:]))


RULES = {"aten.scaled_dot_product_attention": scaled_dot_product_attention}
