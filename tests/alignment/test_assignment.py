"""Both solvers of the assignment problem are exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmc._optional import available
from lmc.alignment.assignment import by_lapx, by_scipy

SOLVERS = [
    by_scipy,
    pytest.param(by_lapx, marks=pytest.mark.skipif(not available("lap"), reason="lapx is not installed (extra fast)")),
]


@pytest.mark.parametrize("solve", SOLVERS)
@given(arrays(np.float32, (5, 5), elements=st.floats(-100, 100, width=16)))
def test_no_permutation_is_worth_more(solve, worth):
    best = max(worth[np.arange(5), list(perm)].sum(dtype=np.float64) for perm in itertools.permutations(range(5)))
    chosen = solve(worth)
    assert sorted(chosen) == list(range(5))
    assert worth[np.arange(5), chosen].sum(dtype=np.float64) == pytest.approx(best, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("solve", SOLVERS)
def test_a_planted_permutation_is_found(solve):
    rng = np.random.default_rng(0)
    planted = rng.permutation(300)
    worth = rng.standard_normal((300, 300)).astype(np.float32)
    worth[np.arange(300), planted] += 20
    assert np.array_equal(solve(worth), planted)
