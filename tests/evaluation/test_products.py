"""Both kernels give the same products, and the choice between them is made once for a class of shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmc.evaluation import inner_products
from lmc.evaluation.products import FastLinear, by_convolution, by_product, kernel


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (64, 129, 33)])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_kernels_multiply(shape, transposed) -> None:
    m, k, n = shape
    draw = torch.Generator().manual_seed(0)
    x, w, bias = torch.randn(m, k, generator=draw), torch.randn(n, k, generator=draw), torch.randn(n, generator=draw)
    if transposed:
        x, w = x.T.contiguous().T, w.T.contiguous().T
    for given in (None, bias):
        expected = x.double() @ w.double().T + (0 if given is None else given.double())
        for function in (by_product, by_convolution, inner_products):
            torch.testing.assert_close(function(x, w, given), expected.float(), rtol=1e-5, atol=1e-5)


def test_small_and_wide_products_are_plain() -> None:
    x = torch.zeros(1)
    assert kernel(8, 8, 8, x) is by_product
    assert kernel(512, 512, 512, x.double()) is by_product


def test_the_choice_stays() -> None:
    x = torch.zeros(1)
    assert kernel(300, 200, 100, x) is kernel(400, 250, 128, x) and kernel(300, 200, 100, x) in (
        by_product,
        by_convolution,
    )


def test_a_linear_layer_through_it() -> None:
    layer, x = nn.Linear(9, 4), torch.randn(2, 3, 9)
    with torch.no_grad():
        torch.testing.assert_close(FastLinear(layer)(x), layer(x))
