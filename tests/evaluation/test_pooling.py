"""Pooling by views is the kernel's pooling, bit for bit; what it cannot do it leaves to the kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lmc.evaluation.pooling import max_pool2d


@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(4, 11), st.integers(4, 11)),
    last=st.booleans(),
    nan=st.booleans(),
)
def test_it_is_the_kernels(size: tuple[int, int], shape: tuple[int, ...], last: bool, nan: bool):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    if nan:
        images[0, 0, 1, 2] = float("nan")
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    found = max_pool2d(images, size)
    assert found is not None
    torch.testing.assert_close(found, F.max_pool2d(images, size), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 1},
        {"padding": 1},
        {"dilation": 2},
        {"ceil_mode": True},
        {"return_indices": True},
        {"stride": (2, 1)},
    ],
)
def test_other_windows_are_left_to_the_kernel(settings: dict[str, object]):
    assert max_pool2d(torch.zeros(1, 2, 6, 6), 2, **settings) is None  # type: ignore[arg-type]


def test_images_smaller_than_the_window_are_left_to_the_kernel_which_refuses_them():
    assert max_pool2d(torch.zeros(1, 2, 1, 6), 2) is None
