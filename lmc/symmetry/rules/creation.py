"""Tensors made inside the graph: uniform ones tie nothing, counted or drawn ones cannot be permuted."""

from __future__ import annotations

from lmc.symmetry.axes import Leaf
from lmc.symmetry.walk import Op, Value, fill


def uniform(op: Op) -> Value:
    """Zeros, ones, one number everywhere."""
    return fill(op.shape, Leaf, uniform=True)


def positions(op: Op) -> Value:
    """Numbers that differ by position."""
    return fill(op.shape, lambda size: op.frozen(size, "numbers differ by position"))


def nothing(op: Op) -> None:
    """Return no tensor: checks and the like."""
    return None


_UNIFORM = """zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full"""
_POSITIONS = """arange linspace logspace eye tril_indices triu_indices empty empty_like new_empty rand randn randint
    rand_like randn_like bartlett_window hann_window"""
RULES = {
    **{f"aten.{name}": uniform for name in _UNIFORM.split()},
    **{f"aten.{name}": positions for name in _POSITIONS.split()},
    "aten._assert_tensor_metadata": nothing,
}
