"""Intervals: the same examples at every position, and the truth inside about as often as promised."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_curves import Covered, coverage, summary

from lmc._errors import UsageError
from lmc.barriers import barrier_interval, bootstrap_means, make_grid, percentile_interval, rises

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


def interval_of(values: np.ndarray, resamples: int = 300, **options: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the barrier of values (example, t) and its interval."""
    resampled = rises(bootstrap_means(values, resamples=resamples), T)
    return rises(values.mean(axis=0), T).max(), barrier_interval(rises(values, T), resampled, **options)


def test_a_barriers_interval_holds_its_estimate_and_stays_possible() -> None:
    draw = np.random.default_rng(0)
    for level in (0.0, 0.02, 0.95):
        wrong = (draw.random((80, 1)) < level * np.sin(np.pi * T)).astype(float)
        estimate, (low, high) = interval_of(wrong, upper=1.0)
        assert 0 <= low <= estimate <= high <= 1


def test_identical_examples_leave_nothing_open() -> None:
    values = np.broadcast_to(np.sin(np.pi * T), (50, T.size))
    estimate, interval = interval_of(values)
    np.testing.assert_allclose(interval, estimate)


def test_more_confidence_is_a_wider_interval_and_more_examples_a_narrower_one() -> None:
    values = np.random.default_rng(0).standard_normal((800, T.size)) + 5 * np.sin(np.pi * T)
    widths = [np.diff(interval_of(values[:n], confidence=level)[1])[0] for n, level in WIDER]
    assert widths == sorted(widths)


WIDER = ((800, 0.8), (800, 0.95), (200, 0.95), (200, 0.99))


def test_a_lone_maximum_has_the_usual_interval_of_a_mean() -> None:
    """Nothing is paid for positions that cannot be the maximum."""
    values = 0.1 * np.random.default_rng(0).standard_normal((1000, T.size)) + np.where(T == 0.5, 1.0, 0.0)
    estimate, (low, high) = interval_of(values, resamples=2000)
    usual = 1.96 * rises(values, T)[:, T.size // 2].std() / np.sqrt(1000)
    assert estimate - low == pytest.approx(usual, rel=0.06)
    assert high - estimate == pytest.approx(usual, rel=0.06)


def test_curves_in_a_stack_get_the_intervals_they_get_alone() -> None:
    values = np.random.default_rng(0).standard_normal((2, 60, T.size))
    resampled = np.random.default_rng(1).standard_normal((90, 2, T.size)) / 8
    alone = [barrier_interval(values[i], resampled[:, i]) for i in range(2)]
    np.testing.assert_allclose(barrier_interval(values, resampled), alone)


@pytest.fixture(scope="module")
def covered() -> list[Covered]:
    """2,000 curves of eight kinds, a test set of 1,000 each."""
    return list(coverage(2000, 1000, points=13))


@pytest.mark.parametrize("metric", ["loss", "error"])
@pytest.mark.parametrize("baseline", ["chord", "mean"])
def test_intervals_hold_the_truth_as_often_as_promised(covered, metric, baseline) -> None:
    held, none, width = summary([one for one in covered if (one.metric, one.baseline) == (metric, baseline)])
    assert 0.93 <= held <= 0.98
    assert width <= 1.3
    if baseline == "chord":
        assert none >= 0.93  # barriers of 0, on the border: at least


def percentiles(values: np.ndarray, resampled: np.ndarray) -> np.ndarray:
    return percentile_interval(resampled.max(axis=-1))


def test_percentiles_of_the_maximum_lose_the_truth_where_the_curve_is_flat() -> None:
    """What was said of the bias of a maximum, and that the test above can fail."""
    flat = {}
    for name, interval in (("ours", barrier_interval), ("percentiles", percentiles)):
        found = coverage(160, 1000, points=13, interval=interval)
        flat[name] = summary([c for c in found if c.kind == "flat" and c.metric == "loss" and c.baseline == "chord"])[1]
    assert flat["ours"] >= 0.9 > flat["percentiles"] + 0.1
