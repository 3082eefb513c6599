"""Scale and shift of the input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc._errors import UsageError
from lmc.datasets import PRESETS, Normalization

means = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(tuple)
stds = st.lists(st.floats(0.1, 3), min_size=3, max_size=3).map(tuple)
normalizations = st.builds(Normalization, means, stds)


@given(normalizations)
def test_scale_and_shift_are_mean_and_std(norm):
    x = torch.rand(4, 3, 5, 5)
    mean, std = (torch.tensor(value, dtype=torch.float32).view(1, 3, 1, 1) for value in (norm.mean, norm.std))
    scale, shift = norm.scale_shift()
    torch.testing.assert_close(norm(x), (x - mean) / std, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm(x), x * scale.view(1, 3, 1, 1) + shift.view(1, 3, 1, 1))


@given(normalizations, normalizations, st.floats(0, 1))
def test_scale_and_shift_move_in_a_straight_line(a, b, t):
    """Not mean and std: 1/std is not linear in std."""
    between = a.interpolate(b, t).scale_shift()
    for got, first, last in zip(between, a.scale_shift(), b.scale_shift(), strict=True):
        torch.testing.assert_close(got, (1 - t) * first + t * last, atol=1e-5, rtol=1e-4)


@given(normalizations, normalizations)
def test_the_ends_are_exact(a, b):
    assert a.interpolate(b, 0) == a and a.interpolate(b, 1) == b


def test_one_value_meets_three_channels():
    a, b = Normalization.identity(), PRESETS["cifar10"]
    assert b is not None
    scale, _ = a.interpolate(b, 0.5).scale_shift()
    torch.testing.assert_close(scale, (1 + b.scale_shift()[0]) / 2)


@pytest.mark.parametrize(("mean", "std"), [((0.1,), (0.1, 0.2)), ((0.1,), (0.0,)), ((float("nan"),), (1.0,)), ((), ())])
def test_constants_that_define_nothing_are_refused(mean, std):
    with pytest.raises(UsageError, match="Normalisation needs"):
        Normalization(mean, std)
