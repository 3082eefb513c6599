"""Normalisation: scale, shift and running statistics are permuted with the channels they belong to."""

from __future__ import annotations

from lmc.symmetry.axes import Term, reshape
from lmc.symmetry.walk import Op, Value


def _tie(op: Op, channels: Term, *vectors: Value | None) -> None:
    for vector in vectors:
        if vector is not None:
            op.unify(vector.axes[0], channels)


def batch_norm(op: Op) -> Value:
    """Batch norm: weight, bias, running mean and running variance."""
    x = op.get(0)
    _tie(op, x.axes[1], *(op.get(position) for position in range(1, 5)))
    return x


def layer_norm(op: Op) -> Value:
    """Layer or RMS norm: the trailing dimensions are reduced, so permuting them all alike changes nothing."""
    x, shape = op.get(0), op.get(1)
    for vector in (op.get(2), op.get(3)):
        if isinstance(vector, Value):
            for axis, own in zip(x.axes[-len(shape) :], vector.axes, strict=True):
                op.unify(axis, own)
    op.mixes(x, *range(-len(shape), 0))
    return x


def group_norm(op: Op) -> Value:
    """Group norm: statistics are shared inside a group, so groups move whole and channels move inside them."""
    x, groups = op.get(0), op.get(1)
    channels = x.axes[1]
    group, _ = reshape([channels], [groups, channels.size // groups])
    _tie(op, channels, op.get(2), op.get(3))
    op.trace.values.append(Value((x.axes[0], group)))  # the statistics
    return x


def instance_norm(op: Op) -> Value:
    """Instance norm: one mean and variance for each channel and example, over all positions."""
    x = batch_norm(op)
    op.mixes(x, *range(2, len(x.axes)))
    return x


RULES = {
    "aten.batch_norm": batch_norm,
    "aten.instance_norm": instance_norm,
    "aten.layer_norm": layer_norm,
    "aten.rms_norm": layer_norm,
    "aten.group_norm": group_norm,
}
