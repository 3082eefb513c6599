"""How far apart the ends of a path are, by their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lmc._types import StateDict

_CHUNK = 2**22


def weight_distance(module: nn.Module, a: StateDict, b: StateDict) -> tuple[float, float]:
    r"""Return :math:`\|A - B\|` over all parameters, and the cosine between A and B over matrices and kernels.

    Buffers (statistics) are left out, tied parameters count once. Scales are left out of the cosine, as in the one
    that ``lmc inspect`` shows: they are positive in every network, so that independent runs would look alike.

    Parameters
    ----------
    module : nn.Module
        Tells which tensors are parameters.
    a, b : state dict
        The ends.

    Returns
    -------
    distance, cosine : float
        In float64; the cosine is 0 where there is no matrix.
    """
    square = dot = norm_a = norm_b = 0.0
    for name, _ in module.named_parameters():
        for x, y in zip(_chunks(a[name]), _chunks(b[name]), strict=True):
            square += float(torch.dot(x - y, x - y))
            if a[name].dim() > 1:
                dot, norm_a, norm_b = dot + float(torch.dot(x, y)), norm_a + float(x @ x), norm_b + float(y @ y)
    return math.sqrt(square), dot / max(math.sqrt(norm_a * norm_b), 1e-300)


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    return (part.double() for part in real.reshape(-1).split(_CHUNK))
