"""Matrix products by the fastest float32 kernel that this machine has for their shape.

torch sends a plain product to one BLAS library. On some processors (AMD's, with MKL) the kernels that convolutions use
are twice as fast in the same float32, on others they are equal. Which one is taken is measured once for each class of
shapes, and the other one has to be clearly faster: a choice that noise could turn would change the last digits from
run to run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CLEARLY = 1.25
"""What the convolution has to gain over the plain product."""

_ALIKE = 2048
"""Size from which on products run alike: larger ones are tried in vain, at a second each."""

_WORTH = 2**22
"""Multiplications below which a product is made plainly: calling takes as long as computing."""


def inner_products(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ w.T + bias``: every row of x with every row of w.

    Parameters
    ----------
    x : Tensor, shape (m, k)
        Such as examples, or A's units.
    w : Tensor, shape (n, k)
        Such as weights, or B's units.
    bias : Tensor, shape (n,), optional
        Added to every row.

    Returns
    -------
    Tensor, shape (m, n)
    """
    return kernel(x.shape[0], x.shape[1], w.shape[0], x)(x, w, bias)


class FastLinear(nn.Module):
    """``nn.Linear`` through :func:`inner_products`."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return inner_products(x.reshape(-1, x.shape[-1]), self.weight, self.bias).unflatten(0, x.shape[:-1])


def by_product(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute by torch's own product."""
    return F.linear(x, w, bias)


def by_convolution(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute as a 1x1 convolution over one image whose pixels are the rows of x, channels last."""
    image = x.contiguous()[None, :, None].permute(0, 3, 1, 2)
    return F.conv2d(image, w[:, :, None, None], bias)[0, :, :, 0].T


Kernel = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def kernel(m: int, k: int, n: int, like: Tensor) -> Kernel:
    """Return the function that multiplies (m, k) and (n, k) fastest, in the dtype and place of a tensor."""
    plain = like.device.type != "cpu" or like.dtype != torch.float32 or not torch.backends.mkldnn.is_available()
    if plain or m * k * n < _WORTH:
        return by_product
    m, k, n = (min(1 << (size - 1).bit_length(), _ALIKE) for size in (m, k, n))
    return _measured(m, k, n, torch.get_num_threads())


@lru_cache(maxsize=256)
def _measured(m: int, k: int, n: int, threads: int) -> Kernel:
    """Try both on a product of this class, cut to a fraction of a second: in turn, the best time of each."""
    m = max(64, min(m, 2**30 // (k * n)))
    x, w = torch.zeros(m, k), torch.zeros(n, k)
    times: dict[Kernel, float] = {by_product: math.inf, by_convolution: math.inf}
    with torch.inference_mode():
        for _ in range(7):
            for run in times:
                started = time.perf_counter()
                run(x, w, None)
                times[run] = min(times[run], time.perf_counter() - started)
    return by_convolution if times[by_convolution] * _CLEARLY < times[by_product] else by_product
