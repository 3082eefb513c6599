"""The node bootstrap: models are drawn, not pairs, and the interval knows it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lmc._errors import UsageError
from lmc.barriers import node_bootstrap, node_interval

PAIRS = list(itertools.combinations("abcdef", 2))


def test_a_constant_has_no_spread() -> None:
    np.testing.assert_allclose(node_bootstrap(np.full(15, 3.0), PAIRS, resamples=50), 3.0)
    np.testing.assert_allclose(node_interval(np.full(15, 3.0), PAIRS, resamples=50), 3.0)


def test_a_model_with_itself_does_not_count() -> None:
    """Three models, drawn again: the pairs that are left have weights from the counts of their two ends."""
    found = node_bootstrap(np.eye(3), [(0, 1), (0, 2), (1, 2)], resamples=500)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    alone = np.sort(found, axis=1)
    whole = np.isclose(alone, [0, 0, 1]).all(axis=1) | np.isclose(alone, 1 / 3).all(axis=1)
    assert whole.all() and np.isclose(alone, 1 / 3).all(axis=1).any()


def test_a_statistic_of_ones_own_and_several_values_at_once() -> None:
    values = np.random.default_rng(0).standard_normal((15, 2))
    greatest = node_bootstrap(values, PAIRS, statistic=lambda v, w: v[w > 0].max(axis=0), resamples=40)
    assert greatest.shape == (40, 2) and (greatest <= values.max(axis=0)).all()
    both = node_interval(values, PAIRS)
    np.testing.assert_allclose(both[0], node_interval(values[:, 0], PAIRS))
    assert (both[:, 0] < values.mean(axis=0)).all() and (values.mean(axis=0) < both[:, 1]).all()


@pytest.mark.parametrize("models", [6, 12])
def test_the_mean_over_pairs_is_held_as_promised_and_naively_lost(models) -> None:
    """Value of a pair = effect of one model + effect of the other + of the pair itself."""
    draw = np.random.default_rng(5)
    pairs = np.array(list(itertools.combinations(range(models), 2)))
    effects = draw.standard_normal((models, 1000))
    values = effects[pairs].sum(axis=1) + draw.standard_normal((len(pairs), 1000))
    low, high = node_interval(values, pairs, resamples=600).T
    held = np.mean((low <= 0) & (high >= 0))
    assert 0.93 <= held <= 0.98
    naive = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    assert np.mean(abs(values.mean(axis=0)) <= naive) < 0.8


@pytest.mark.parametrize(
    ("values", "pairs", "told"),
    [
        ([1.0], [(0, 1)], "3 models"),
        ([1.0, 2.0, 3.0], [(0, 1), (1, 2)], "3 pairs|2 pairs"),
        ([1.0, 2.0, 3.0], [(0, 1), (1, 2), (2, 2)], "two different"),
        ([1.0, 2.0, 3.0], [(0, 1), (1, 2), (2, 1)], "once"),
        ([1.0, np.nan, 3.0], [(0, 1), (1, 2), (0, 2)], "not finite"),
    ],
)
def test_what_is_no_set_of_pairs_is_refused(values, pairs, told) -> None:
    with pytest.raises(UsageError, match=told):
        node_bootstrap(values, pairs)
