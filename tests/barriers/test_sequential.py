"""Bounds under repeated looks: right as often as promised, cheap where the answer is clear."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_curves import adaptive_runs

from lmc.barriers import make_grid, rises, sequential
from lmc.barriers.sequential import Question, decide, look_counts

T = make_grid(25)


def reader(values: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda positions, start, stop: values[start:stop][:, list(positions)].T


def noisy(peak: float, *, size: int = 4000, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Return losses (example, t) with a hump of this mean height."""
    draw = np.random.default_rng(seed)
    heights = peak + noise * draw.standard_normal((size, 1))
    return draw.exponential(0.1, (size, 1)) + heights * np.sin(np.pi * T) ** 2


@given(st.integers(1, 10**6), st.integers(1, 1000))
def test_looks_double_until_all_is_seen(size, first) -> None:
    counts = look_counts(size, first)
    assert counts[-1] == size and counts[0] == min(first, size)
    assert all(a < b <= 2 * a for a, b in itertools.pairwise(counts))


def test_the_error_is_spent_over_the_looks_that_can_err() -> None:
    finite = Question(T, 10_000, 0.02)
    assert len(finite.counts) == 7
    assert finite.tail * 6 == pytest.approx(0.025)  # the whole set errs not
    assert replace(finite, finite=False).tail * 7 == pytest.approx(0.025)


@pytest.mark.parametrize(("peak", "verdict"), [(0.5, "above"), (0.0, "below tolerance")])
def test_what_is_clear_costs_little(peak, verdict) -> None:
    values = noisy(peak, size=10_000, noise=0.02)
    answer = decide(Question(T, len(values), 0.1), reader(values))
    assert answer.verdict == verdict
    assert answer.examples.sum() < values.size / 8
    assert answer.interval[0] <= rises(values.mean(axis=0), T).max() <= answer.interval[1]


def test_above_needs_no_fine_grid_and_below_needs_all_of_it() -> None:
    above, below = (decide(Question(T, 4000, 0.1), reader(noisy(peak, noise=0.02))) for peak in (0.5, 0.0))
    assert (above.examples > 0).sum() < 10 and above.interval[1] == np.inf
    assert (below.examples > 0).all() and below.interval[1] <= 0.1
    np.testing.assert_array_equal(np.isnan(above.rise), above.examples == 0)


def test_positions_near_the_maximum_get_the_examples() -> None:
    answer = decide(Question(T, 4000, 0.1), reader(noisy(0.09)))
    inner = answer.examples[1:-1]
    assert inner[11] > inner[0] and inner[11] == inner.max()


def test_seen_whole_a_set_leaves_no_doubt() -> None:
    values = noisy(0.1)
    truth = rises(values.mean(axis=0), T).max()
    for tolerance, verdict in ((truth * 1.0001, "below tolerance"), (truth * 0.9999, "above")):
        answer = decide(Question(T, len(values), tolerance), reader(values))
        assert answer.verdict == verdict and answer.examples.max() == len(values)


@pytest.mark.parametrize("finite", [True, False])
def test_looks_that_contradict_each_other_leave_no_empty_interval(finite) -> None:
    # The first look saw the worst half: its lower bound lies above what the whole set shows.
    values = np.zeros((512, 5))
    values[:256, 2] = 0.5 + 0.1 * np.random.default_rng(0).standard_normal(256)
    answer = decide(Question(make_grid(5), 512, 0.5, finite=finite), reader(values))
    assert answer.looks[0].lower > values[:, 2].mean(), "the case that is meant"
    low, high = answer.interval
    assert low <= answer.barrier <= high and (answer.bounds[:, 0] <= answer.bounds[:, 1]).all()
    assert not finite or low == high == pytest.approx(values[:, 2].mean())


def test_a_distribution_may_stay_undecided() -> None:
    values = noisy(0.1)
    truth = rises(values.mean(axis=0), T).max()
    answer = decide(Question(T, len(values), truth * 1.0001, finite=False), reader(values))
    assert answer.verdict == "undecided"
    assert answer.interval[0] < truth < answer.interval[1]


def test_every_value_is_read_once_and_in_order() -> None:
    values, asked = noisy(0.1), np.zeros((4000, T.size))

    def read(positions, start, stop):
        asked[start:stop, list(positions)] += 1
        return values[start:stop][:, list(positions)].T

    answer = decide(Question(T, len(values), 0.09), read)
    assert asked.max() == 1
    np.testing.assert_array_equal(asked.sum(axis=0), answer.examples)
    for position, kept in enumerate(answer.values):
        np.testing.assert_array_equal(kept, values[: len(kept), position])
    assert [look.evaluations for look in answer.looks] == sorted(look.evaluations for look in answer.looks)


def test_all_positions_of_a_mean_baseline_count() -> None:
    """Against the mean end the worse end itself is the barrier here."""
    values = np.random.default_rng(0).exponential(0.1, (3000, 1)) + 0.4 * T
    answer = decide(Question(T, 3000, 0.15, baseline="mean"), reader(values))
    assert answer.verdict == "above" and answer.barrier == pytest.approx(0.2, abs=0.02)


def rare(seed: int) -> np.ndarray:
    """Return losses of which one in 200 breaks, by 5 nats: a barrier of 0.025 that 256 examples may not show."""
    draw = np.random.default_rng(seed)
    size = 10_000
    broken = draw.permutation(size)[: size // 200, None]
    wrong = draw.exponential(2.0, (size, 1)) * (draw.random((size, 1)) < 0.02)
    values = wrong + 0.01 * draw.standard_normal((size, 1)) * np.sin(np.pi * T)
    values[broken[:, 0]] += 5 * np.sin(np.pi * T)
    return values


def test_what_is_rare_and_bad_is_reckoned_with(monkeypatch) -> None:
    def wrong() -> int:
        answers = (decide(Question(T, 10_000, 0.02), reader(rare(seed))) for seed in range(25))
        return sum(answer.verdict == "below tolerance" for answer in answers)

    assert wrong() <= 2
    monkeypatch.setattr(sequential, "_IMAGINED", 0)
    assert wrong() >= 5  # without the imagined examples the means of the first look would be believed


def test_the_lower_bound_holds_at_all_positions_together(monkeypatch) -> None:
    """Many positions that just miss the tolerance, their noise independent: one of them always looks high."""

    def wrong() -> int:
        draw, found = np.random.default_rng(2), 0
        for _ in range(40):
            values = draw.standard_normal((2000, T.size))
            values[:, [0, -1]] = 0
            values += np.where((T > 0) & (T < 1), 0.0999, 0.0) - values.mean(axis=0)
            found += decide(Question(T, len(values), 0.1), reader(values)).verdict == "above"
        return found

    assert wrong() <= 4
    monkeypatch.setattr(sequential, "_greatest_normal", lambda apart, tail: 0.0)
    assert wrong() >= 6  # bounds that hold at each position alone


def test_verdicts_are_right_or_open_as_often_as_promised() -> None:
    """Barriers of 0.5, 0.9, 1.1 and 2 times the tolerance, of the set and of the distribution."""
    runs = list(adaptive_runs(3, 4000, points=13))
    assert len(runs) >= 200
    assert np.mean([run.wrong for run in runs]) <= 0.05
    assert np.mean([run.held for run in runs]) >= 0.95
    far = [run.share for run in runs if run.ratio in (0.5, 2)]
    near = [run.share for run in runs if run.ratio in (0.9, 1.1)]
    assert np.mean(far) < np.mean(near) < 0.5
    assert not any(run.open for run in runs if run.target == "set")
