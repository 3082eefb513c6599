"""Elementwise ops: broadcast partners are one, every position is treated alike."""

from __future__ import annotations

from lmc.symmetry.axes import leaves
from lmc.symmetry.walk import Op, Value, broadcast, takes_stacks


def elementwise(op: Op) -> Value:
    """Any function of the numbers at one position."""
    return broadcast(op, op.values, op.shape)


@takes_stacks
def same(op: Op) -> Value:
    """Return the input itself: copies, casts, dropout at rest."""
    return op.values[0]


def softmax(op: Op) -> Value:
    """Softmax along a dimension: its positions are treated alike."""
    x = op.get(0)
    op.mixes(x, op.get(1, -1))
    return x


def wave(op: Op) -> Value:
    """Sine and cosine: where their argument is frozen they are mostly positions, and the reason should say so."""
    axes = broadcast(op, op.values, op.shape).axes
    still = [all(leaf.frozen for leaf in leaves(axis)) and axis.size > 1 for axis in axes]
    why = "rotary or sinusoidal positions"
    return Value(tuple(op.frozen(axis.size, why) if held else axis for axis, held in zip(axes, still, strict=True)))


def prelu(op: Op) -> Value:
    """One slope for all channels, or one each."""
    x, slope = op.get(0), op.get(1)
    if slope.axes and slope.axes[0].size > 1:
        op.unify(slope.axes[0], x.axes[1] if len(x.axes) > 1 else x.axes[0])
    return x


_UNARY = """abs acos acosh asin asinh atan atanh bitwise_not ceil celu clamp clamp_max clamp_min clip cosh deg2rad
    elu erf erfc exp exp2 expm1 floor frac gelu hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan
    leaky_relu log log10 log1p log2 log_sigmoid logical_not logit mish nan_to_num neg negative pow positive reciprocal
    relu relu6 round rrelu rsqrt selu sigmoid sign silu sinh softplus softshrink sqrt square tan tanh
    threshold trunc zero"""
_BINARY = """add addcdiv addcmul atan2 bitwise_and bitwise_or bitwise_xor copysign div divide eq
    floor_divide fmax fmin fmod ge greater greater_equal gt hypot le lerp less less_equal logaddexp logical_and
    logical_or logical_xor lt masked_fill maximum minimum mul multiply ne not_equal remainder rsub sub subtract
    true_divide where xlogy __and__ __or__ __xor__"""
_SAME = """alias clone contiguous detach dropout alpha_dropout feature_dropout feature_alpha_dropout
    lift_fresh_copy to _to_copy type_as"""
_SOFTMAX = "softmax log_softmax _softmax _log_softmax _safe_softmax"

RULES = {
    **{f"aten.{name}": elementwise for name in (_UNARY + " " + _BINARY).split()},
    **{f"aten.{name}": same for name in _SAME.split()},
    **{f"aten.{name}": softmax for name in _SOFTMAX.split()},
    "aten.cos": wave,
    "aten.sin": wave,
    "aten.prelu": prelu,
}
