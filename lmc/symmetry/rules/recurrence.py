"""Recurrent layers: one permutation per layer and direction, the same on all gates and on both sides of H."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmc.symmetry.axes import Leaf, Product, Sum, Term
from lmc.symmetry.walk import Op, Value, stack


def _recurrence(gates: int) -> Callable[[Op], list[Value]]:
    def rule(op: Op) -> list[Value]:
        """Follow the layers of an RNN, GRU or LSTM over a batch of sequences."""
        x, initial, weights = op.get(0), op.get(1), op.get(2)
        biases, layers, directions = bool(op.get(3)), op.get(4), 1 + bool(op.get(7))
        op.freeze(*x.axes[:-1], why="time and batch")
        per_cell = len(weights) // (layers * directions)
        cells = [weights[start : start + per_cell] for start in range(0, len(weights), per_cell)]
        features, outs, units = x.axes[-1], [], []
        for layer in range(layers):
            pairs = [_cell(op, features, cell, biases, gates) for cell in cells[layer * directions :][:directions]]
            outs += [out for out, _ in pairs]
            units += [unit for _, unit in pairs]
            features = pairs[0][0] if directions == 1 else Sum(tuple(out for out, _ in pairs))
        given = list(initial) if isinstance(initial, (list, tuple)) else [initial]
        return [Value((*x.axes[:-1], features)), *_states(op, given, [outs, units])]

    return rule


def _cell(op: Op, features: Term, weights: Sequence[Value], biases: bool, gates: int) -> tuple[Term, Term]:
    """Tie one layer and direction together; return what it gives out (projected or not) and its units."""
    from_input, from_hidden = weights[0], weights[1]
    units = Leaf(from_hidden.axes[0].size // gates)
    rows = Product((Leaf(gates, "gates"), units))
    op.unify(from_input.axes[1], features)
    for value in weights[: 2 + 2 * biases]:
        op.unify(value.axes[0], rows)
    out: Term = units
    if len(weights) > 2 + 2 * biases:
        out, before = weights[-1].axes
        op.unify(before, units)
    op.unify(from_hidden.axes[1], out)
    return out, units


def _states(op: Op, given: Sequence[Value], axes: Sequence[Sequence[Term]]) -> list[Value]:
    """Final hidden (and cell) states: the first dimension counts layers and directions, each with units of its own."""
    finals = []
    for start, shape, own in zip(given, op.shape[1:], axes, strict=False):
        if not start.uniform:
            op.freeze(*start.axes[:-1], why="layers and batch")
            for axis in own:
                op.unify(axis, start.axes[-1])
        batch = [op.frozen(size, "batch") for size in shape[1:-1]]
        finals.append(stack(0, [Value((*batch, axis)) for axis in own]))
    return finals


RULES = {
    "aten.lstm": _recurrence(4),
    "aten.gru": _recurrence(3),
    "aten.rnn_tanh": _recurrence(1),
    "aten.rnn_relu": _recurrence(1),
}
