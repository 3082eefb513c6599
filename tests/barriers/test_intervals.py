"""Intervals: the same examples at every position, and the truth inside about as often as promised."""

from __future__ import annotations

import numpy as np
import pytest

from lmc._errors import UsageError
from lmc.barriers import barrier_interval, bootstrap_means, chord_barrier, make_grid, percentile_interval

T = make_grid(13)


def test_the_standard_error_of_a_mean_is_found() -> None:
    values = np.random.default_rng(0).standard_normal((400, 1))
    means = bootstrap_means(values, resamples=4000, seed=1)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)
    low, high = percentile_interval(means)[0]
    assert low < values.mean() < high


def test_every_column_sees_the_same_resample() -> None:
    """What all positions have in common cancels in a difference; drawn apart, it would not."""
    noise = 10 * np.random.default_rng(0).standard_normal((300, 1))
    values = noise + np.array([[0.0, 0.5, 1.0]])
    joint = bootstrap_means(values, resamples=200, seed=3)
    np.testing.assert_allclose(joint[:, 1] - joint[:, 0], 0.5, atol=1e-12)
    apart = np.column_stack([bootstrap_means(values[:, [i]], resamples=200, seed=i)[:, 0] for i in range(3)])
    assert (apart[:, 1] - apart[:, 0]).std() > 0.3


def test_a_seed_gives_the_same_resamples_and_another_gives_others() -> None:
    values = np.arange(50.0)[:, None]
    first, again, other = (bootstrap_means(values, resamples=70, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    np.testing.assert_array_equal(first[:65], bootstrap_means(values, resamples=65, seed=0))


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(UsageError):
        bootstrap_means(np.empty((0, 3)))
    with pytest.raises(UsageError):
        bootstrap_means(np.ones((5, 3)), resamples=0)


def test_a_barriers_interval_holds_its_estimate_and_stays_possible() -> None:
    resampled = np.random.default_rng(0).uniform(0.2, 0.9, size=(1000, 2))
    low, high = barrier_interval(np.array([0.1, 0.95]), resampled, upper=1.0).T
    assert (low >= 0).all() and (high <= 1).all()
    assert (low <= [0.1, 0.95]).all() and (high >= [0.1, 0.95]).all()


def covered(peak: float, *, runs: int = 150, examples: int = 600) -> tuple[float, float]:
    """Return how often the interval, and percentiles alone, hold the barrier of smooth noisy curves."""
    draw = np.random.default_rng(7)
    truth = peak * np.minimum(1, 4 * np.minimum(T, 1 - T))  # a plateau: many positions nearly tie for the maximum
    modes = np.stack([np.cos(np.pi * k * T) / (1 + k) for k in range(6)])
    hits = np.zeros(2)
    for run in range(runs):
        values = truth + draw.standard_normal((examples, len(modes))) @ modes
        estimate = chord_barrier(values.mean(axis=0), T)
        resampled = chord_barrier(bootstrap_means(values, resamples=300, seed=run), T)
        for i, (low, high) in enumerate((barrier_interval(estimate, resampled), percentile_interval(resampled))):
            hits[i] += low <= chord_barrier(truth, T) <= high
    return tuple(hits / runs)


@pytest.mark.parametrize("peak", [0.0, 0.3])
def test_intervals_hold_the_truth_where_percentiles_lose_it(peak) -> None:
    ours, percentiles = covered(peak)
    assert ours >= 0.91  # 95% nominal, 150 runs of a fixed seed
    assert percentiles < ours - 0.08
