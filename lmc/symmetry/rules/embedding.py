"""Look-ups: rows are chosen by number and stay, columns pass through."""

from __future__ import annotations

from lmc.symmetry.walk import Op, Value


def embedding(op: Op) -> Value:
    """``weight[index]``."""
    weight, index = op.get(0), op.get(1)
    op.freeze(weight.axes[0], why="rows are chosen by number")
    return Value((*index.axes, *weight.axes[1:]))


RULES = {"aten.embedding": embedding}
