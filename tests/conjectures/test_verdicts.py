"""Claims about barriers and what is concluded from them: coverage on curves that are known, and the logic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmc.conjectures.claims import Rise, holm
from lmc.conjectures.verdicts import CONNECTED, NOT_CONNECTED, UNDECIDED, Question, Tried, halves, judge, look

T = np.linspace(0, 1, 9)


def errors(barrier: float, examples: int, seed: int) -> NDArray[np.float64]:
    """Draw errors of examples along a path whose true error barrier is known; the ends are wrong on 5%."""
    rng = np.random.default_rng(seed)
    level = 0.05 + barrier * (1 - (2 * T - 1) ** 2)
    # One uniform number an example: it goes wrong where the level passes it, so that positions hang together.
    return (rng.random((examples, 1)) < level).astype(np.float64)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(p: list[float]):
    adjusted = holm(p)
    order, running = np.argsort(p, kind="stable"), 0.0
    for rank, claim in enumerate(order):
        running = max(running, (len(p) - rank) * p[claim])
        assert adjusted[claim] == pytest.approx(min(1.0, running))


def test_what_is_no_claim_counts_for_nothing():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])


def test_claims_err_no_more_often_than_they_say():
    wrong_below = wrong_above = right = 0
    for seed in range(150):
        at = Rise(errors(0.02, 1000, seed), T, upper=1.0, resamples=300, seed=seed)
        wrong_below += at.p_below(0.02) <= 0.05
        wrong_above += at.p_above(0.02) <= 0.05
        right += Rise(errors(0.06, 1000, seed), T, upper=1.0, resamples=300, seed=seed).p_above(0.02) <= 0.05
    # 150 runs at 5%: 7.5 expected, over 15 has a probability of 0.2%
    assert wrong_below <= 15 and wrong_above <= 15
    assert right > 140, "a barrier of three times the tolerance is seen"


def test_the_p_value_is_where_the_interval_ends():
    rise = Rise(errors(0.05, 2000, 1), T, upper=1.0)
    p = rise.p_above(0.03)
    assert rise.interval(1 - 2 * p * 1.05)[0] > 0.03 > rise.interval(1 - 2 * p * 0.95)[0]
    assert rise.p_below(0.03) == 1.0


def test_halves_are_apart_and_of_one_seed():
    one, other = halves(11, 3)
    assert sorted([*one, *other]) == list(range(11)) and len(one) == 5
    assert all(np.array_equal(a, b) for a, b in zip(halves(11, 3), (one, other), strict=True))
    assert not np.array_equal(halves(11, 4)[0], one)


def test_a_pair_is_connected_by_the_method_that_connects_it_and_not_by_one_that_does_not():
    question = Question(T, tolerance=0.02)
    high, low = (look(errors(barrier, 4000, seed), question) for barrier, seed in ((0.3, 0), (0.0, 1)))
    (connected, apart) = judge([{"none": high, "weights": low}, {"none": high, "weights": high}], question)
    assert (connected.word, connected.method) == (CONNECTED, "weights") and connected.p < 0.025
    assert apart.word == NOT_CONNECTED and "none, weights" in apart.why


def test_near_the_tolerance_more_examples_are_asked_for():
    question = Question(T, tolerance=0.02)
    (near,) = judge([{"none": look(errors(0.022, 600, 2), question)}], question)
    assert near.word == UNDECIDED and "examples" in near.why


def test_nothing_found_says_nothing_where_methods_do_not_find_what_is_there_or_were_not_tried():
    question = Question(T, tolerance=0.02)
    tried = [{"none": look(errors(0.3, 4000, 0), question)}]
    (blind,) = judge(tried, question, recovers=False)
    (hurried,) = judge(tried, question, untried=[["sinkhorn"]])
    assert blind.word == hurried.word == UNDECIDED
    assert "stronger methods" in blind.why and "sinkhorn" in hurried.why


def test_pairs_are_corrected_together():
    question = Question(T, tolerance=0.02)
    near = Tried(0.01, 0.01, np.array([0.005, 0.0195]), 0.02, 1.0, 1000)
    assert judge([{"none": near}], question)[0].word == CONNECTED
    assert {verdict.word for verdict in judge([{"none": near}] * 3, question)} == {UNDECIDED}


def test_the_choice_is_made_on_the_other_half():
    question = Question(T, tolerance=0.02)
    values = errors(0.0, 2000, 0)
    lucky = values.copy()
    chosen, reported = halves(len(values), question.seed)
    lucky[np.ix_(reported, np.arange(1, 8))] = 0.0  # very good where it is reported, as good where it is chosen
    worse = values.copy()
    worse[np.ix_(chosen[:100], np.arange(1, 8))] = 1.0  # bad where it is chosen
    (verdict,) = judge([{"lucky": look(np.maximum(lucky, worse), question), "plain": look(values, question)}], question)
    assert verdict.method == "plain"
