"""Max pooling over windows that do not overlap, as the maximum of views: the numbers of the kernel, sooner on CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST = 4
"""Largest window: of larger ones the views are many and short."""


def max_pool2d(
    inputs: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:
    """Pool as :func:`torch.nn.functional.max_pool2d` does.

    Parameters
    ----------
    inputs : Tensor, shape (..., channels, height, width)
        On CPU.

    Returns
    -------
    Tensor, or None where windows overlap, reach over the edge or are large
        NaN in a window is NaN in the result, as in the kernel's.
    """
    size, step = _two(kernel_size), _two(stride if stride not in (None, ()) else kernel_size)
    plain = _two(padding) == (0, 0) and _two(dilation) == (1, 1) and not ceil_mode and not return_indices
    fits = inputs.ndim in (3, 4) and inputs.shape[-2] >= size[0] and inputs.shape[-1] >= size[1]
    if not plain or size != step or max(size) > _MOST or not fits:
        return None
    return _along(_along(inputs, -2, size[0]), -1, size[1])


def _along(inputs: Tensor, dim: int, size: int) -> Tensor:
    whole = inputs.shape[dim] // size * size
    index: list[Any] = [slice(None)] * inputs.ndim
    result: Tensor | None = None
    for start in range(size):
        index[dim] = slice(start, whole, size)
        view = inputs[tuple(index)]
        result = view if result is None else torch.maximum(result, view)
    assert result is not None
    return result


def _two(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


POOLING = (F.max_pool2d, torch.max_pool2d)
"""Functions that a mode may take :func:`max_pool2d` for."""
