"""Pooling and resizing: windows keep spatial positions in place, channels pass through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmc.symmetry.walk import Op, Value


def _over(dims: int) -> Callable[[Op], Any]:
    def rule(op: Op) -> Any:
        """Freeze the trailing dimensions, pass the leading ones on."""
        x = op.get(0)
        op.freeze(*x.axes[-dims:], why="spatial positions")
        shapes = op.shape if isinstance(op.shape, list) else [op.shape]
        outs = [
            Value((*x.axes[:-dims], *(op.frozen(size, "spatial positions") for size in shape[-dims:])))
            for shape in shapes
        ]
        return outs if isinstance(op.shape, list) else outs[0]

    return rule


_POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
_RESIZE = {
    "upsample_nearest1d": 1,
    "upsample_linear1d": 1,
    "upsample_nearest2d": 2,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
    "_upsample_bilinear2d_aa": 2,
    "_upsample_bicubic2d_aa": 2,
    "upsample_nearest3d": 3,
    "upsample_trilinear3d": 3,
}

RULES = {
    **{f"aten.{pool}{n}d": _over(n) for pool in _POOLS for n in (1, 2, 3)},
    **{f"aten.max_pool{n}d_with_indices": _over(n) for n in (2, 3)},
    **{f"aten.{name}": _over(dims) for name, dims in _RESIZE.items()},
}
