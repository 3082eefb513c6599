"""Contractions: the summed pair of axes is one; every other axis passes through."""

from __future__ import annotations

import string

from lmc.symmetry.axes import Term
from lmc.symmetry.walk import Op, Value, broadcast


def linear(op: Op) -> Value:
    """``x @ weight.T + bias``."""
    x, weight, bias = op.get(0), op.get(1), op.get(2)
    op.unify(x.axes[-1], weight.axes[-1])
    if bias is not None:
        op.unify(bias.axes[-1], weight.axes[0])
    return Value((*x.axes[:-1], *weight.axes[:-1]))


def matmul(op: Op) -> Value:
    """Batched matrix product, with broadcasting of the leading dimensions and vectors on either side."""
    a, b = op.get(0), op.get(1)
    op.unify(a.axes[-1], b.axes[-2] if len(b.axes) > 1 else b.axes[-1])
    leading_a, leading_b = Value(a.axes[:-2]), Value(b.axes[:-2])
    rows, columns = a.axes[-2:-1], b.axes[-1:] if len(b.axes) > 1 else ()
    leading = op.shape[: len(op.shape) - len(rows) - len(columns)]
    return Value((*broadcast(op, [leading_a, leading_b], leading).axes, *rows, *columns))


def addmm(op: Op) -> Value:
    """``bias + a @ b``, batched or not."""
    bias, a, b = op.get(0), op.get(1), op.get(2)
    product = op.part(matmul, a, b, shape=op.shape)
    return broadcast(op, [product, bias], op.shape)


def einsum(op: Op) -> Value:
    """Unify whatever carries the same letter."""
    equation, operands = op.get(0).replace(" ", ""), op.get(1)
    inputs, _, output = equation.partition("->")
    letters: dict[str, Term] = {}
    spare = [c for c in string.ascii_letters if c not in equation]
    terms = inputs.split(",")
    dots = max((len(v.axes) - len(t.replace("...", "")) for t, v in zip(terms, operands, strict=True)), default=0)
    filler = "".join(spare[:dots])
    for term, value in zip(terms, operands, strict=True):
        missing = len(value.axes) - len(term.replace("...", ""))
        for letter, axis in zip(
            term.replace("...", filler[dots - missing :] if missing else ""), value.axes, strict=True
        ):
            if letter not in letters or letters[letter].size == 1:
                letters[letter] = axis
            elif axis.size != 1:
                op.unify(letters[letter], axis)
    if "->" not in equation:
        plain = inputs.replace(",", "").replace("...", "")
        output = "..." + "".join(sorted(c for c in set(plain) if plain.count(c) == 1))
    return Value(tuple(letters[letter] for letter in output.replace("...", filler)))


def dot(op: Op) -> Value:
    """Inner product of two vectors."""
    op.unify(op.get(0).axes[0], op.get(1).axes[0])
    return Value(())


RULES = {
    "aten.linear": linear,
    "aten.matmul": matmul,
    "aten.mm": matmul,
    "aten.bmm": matmul,
    "aten.mv": matmul,
    "aten.addmm": addmm,
    "aten.baddbmm": addmm,
    "aten.einsum": einsum,
    "aten.dot": dot,
    "aten.vdot": dot,
}
