"""Weights that are computed from others: by weight_norm (Salimans and Kingma 2016)."""

from __future__ import annotations

from lmc.symmetry.walk import Op, Value, broadcast


def weight_norm(op: Op) -> Value:
    """``v * g / |v|``, the norm over all dimensions but one: every row keeps its length."""
    direction, length, dim = op.get(0), op.get(1), op.get(2, 0)
    op.mixes(direction, *(d for d in range(len(direction.axes)) if d != dim))
    return broadcast(op, [direction, length], op.shape)


RULES = {"aten._weight_norm": weight_norm}
