"""Convolutions: input channels meet the weight's second axis (its first when transposed), spatial positions stay."""

from __future__ import annotations

from collections.abc import Callable

from lmc.symmetry.axes import Product, Term, reshape
from lmc.symmetry.walk import Op, Value


def _convolution(transposed: bool, groups_at: int) -> Callable[[Op], Value]:
    def rule(op: Op) -> Value:
        return _convolve(op, transposed, int(op.get(groups_at, 1)))

    rule.__doc__ = "Convolve" + (" transposed." if transposed else ".")
    return rule


def general(op: Op) -> Value:
    """``aten.convolution``, which every overload lowers to."""
    return _convolve(op, bool(op.get(6, False)), int(op.get(8, 1)))


def _convolve(op: Op, transposed: bool, groups: int) -> Value:
    x, weight, bias = op.get(0), op.get(1), op.get(2)
    spatial = len(weight.axes) - 2
    op.freeze(*x.axes[-spatial:], why="spatial positions")
    op.freeze(*weight.axes[2:], why="kernel positions")
    channels = x.axes[-spatial - 1]
    first, second = weight.axes[:2]
    if groups == 1:
        op.unify(channels, first if transposed else second)
        out = second if transposed else first
    else:
        out = _grouped(op, channels, first, second, groups, transposed)
    if bias is not None:
        op.unify(bias.axes[0], out)
    after = (op.frozen(size, "spatial positions") for size in op.shape[-spatial:])
    return Value((*x.axes[: -spatial - 1], out, *after))


def _grouped(op: Op, channels: Term, first: Term, second: Term, groups: int, transposed: bool) -> Term:
    """Groups are the outer factor of the channels on both sides; the second axis of the weight lies inside a group."""
    group, inside = reshape([channels], [groups, channels.size // groups])
    weight_group, weight_inside = reshape([first], [groups, first.size // groups])
    op.unify(group, weight_group)
    if transposed:
        op.unify(inside, weight_inside)
        return Product((group, second))
    op.unify(inside, second)
    return first


RULES = {
    "aten.conv1d": _convolution(transposed=False, groups_at=6),
    "aten.conv2d": _convolution(transposed=False, groups_at=6),
    "aten.conv3d": _convolution(transposed=False, groups_at=6),
    "aten.conv_transpose1d": _convolution(transposed=True, groups_at=6),
    "aten.conv_transpose2d": _convolution(transposed=True, groups_at=6),
    "aten.conv_transpose3d": _convolution(transposed=True, groups_at=6),
    "aten.convolution": general,
}
