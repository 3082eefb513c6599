"""Barrier scalars: the algebra that defines them, and grids that define none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmc._errors import GridError, UsageError
from lmc.barriers import area_above_chord, check_grid, chord_barrier, make_grid, mean_barrier, rises

T = make_grid(9)
curves = arrays(np.float64, T.shape, elements=st.floats(-100, 100))
coefficients = st.floats(-100, 100)


@given(curves, coefficients, coefficients)
def test_a_straight_line_added_changes_nothing_against_the_chord(curve, slope, offset) -> None:
    tilted = curve + slope * T + offset
    np.testing.assert_allclose(chord_barrier(tilted, T), chord_barrier(curve, T), atol=1e-10)
    np.testing.assert_allclose(area_above_chord(tilted, T), area_above_chord(curve, T), atol=1e-10)


@given(curves, coefficients)
def test_barriers_are_not_negative_and_ignore_a_constant(curve, offset) -> None:
    for barrier in (chord_barrier, mean_barrier):
        assert barrier(curve, T) >= 0
        np.testing.assert_allclose(barrier(curve + offset, T), barrier(curve, T), atol=1e-10)


@given(st.floats(0, 10), coefficients, coefficients)
def test_a_convex_curve_has_no_chord_barrier(bend, slope, offset) -> None:
    convex = bend * T**2 + slope * T + offset
    assert chord_barrier(convex, T) == pytest.approx(0, abs=1e-11)
    assert area_above_chord(convex, T) <= 1e-11


@given(curves)
def test_both_definitions_agree_where_the_ends_do(curve) -> None:
    curve[-1] = curve[0]
    np.testing.assert_allclose(mean_barrier(curve, T), chord_barrier(curve, T), atol=1e-10)


@given(curves)
def test_exchanging_the_ends_changes_no_barrier(curve) -> None:
    for scalar in (chord_barrier, mean_barrier, area_above_chord):
        np.testing.assert_allclose(scalar(curve[::-1], T), scalar(curve, T), atol=1e-10)


def test_values_computed_by_hand() -> None:
    t, curve = [0.0, 0.5, 1.0], [1.0, 5.0, 3.0]
    assert chord_barrier(curve, t) == 3.0
    assert mean_barrier(curve, t) == 3.0
    assert area_above_chord(curve, t) == 1.5
    assert mean_barrier([1.0, 1.0, 3.0], t) == 1.0  # the worse end rises above the mean of both


def test_leading_dimensions_are_kept() -> None:
    stack = np.stack([T * 0, 1 - (2 * T - 1) ** 2])[:, None]
    np.testing.assert_allclose(chord_barrier(stack, T), [[0.0], [1.0]])


@pytest.mark.parametrize("points", [2, 3, 10, 25, 30, 61, 1000])
def test_the_grid_holds_both_ends_and_the_midpoint_exactly(points) -> None:
    grid = make_grid(points)
    assert grid[0] == 0 and grid[-1] == 1 and 0.5 in grid
    assert len(grid) == points + (points % 2 == 0)
    np.testing.assert_allclose(grid, 1 - grid[::-1], atol=1e-15)


def test_a_grid_of_ones_own_is_kept_and_snapped() -> None:
    np.testing.assert_array_equal(check_grid([1e-12, 0.2, 1 - 1e-12]), [0, 0.2, 0.5, 1])


@pytest.mark.parametrize(
    ("t", "told"),
    [
        ([0.0, 0.5], "from 0 to 0.5"),
        ([0.1, 0.5, 1.0], "from 0.1 to 1"),
        ([0.0, 0.7, 0.6, 1.0], "position 1 is 0.7 and the next is 0.6"),
        ([0.0, 0.5, 0.5, 1.0], "must increase"),
        ([0.0, float("nan"), 1.0], "not finite"),
        ([0.0], "2 points"),
        ([[0.0, 1.0]], "one dimension"),
        ([-0.5, 0.0, 1.0], "from -0.5 to 1"),
    ],
)
def test_grids_that_define_no_barrier_are_refused(t, told) -> None:
    with pytest.raises(GridError, match=told):
        check_grid(t)


@pytest.mark.parametrize("points", [1, 0, -3, 2.5])
def test_too_few_points_are_refused(points) -> None:
    with pytest.raises(GridError, match="2 points"):
        make_grid(points)


@pytest.mark.parametrize("scalar", [chord_barrier, mean_barrier, area_above_chord])
def test_scalars_refuse_a_curve_without_its_ends(scalar) -> None:
    with pytest.raises(GridError, match="0 and 1 must be on it"):
        scalar([1.0, 2.0], [0.0, 0.9])
    with pytest.raises(GridError, match=r"\(3,\).*\(2,\)"):
        scalar([1.0, 2.0, 1.0], [0.0, 1.0])
    with pytest.raises(GridError, match="not finite"):
        scalar([1.0, np.nan, 1.0], [0.0, 0.5, 1.0])


@given(curves, st.sampled_from(["chord", "mean"]))
def test_a_barrier_is_the_greatest_rise(curve, baseline) -> None:
    barrier = {"chord": chord_barrier, "mean": mean_barrier}[baseline]
    assert rises(curve, T, baseline).max() == pytest.approx(barrier(curve, T), abs=1e-10)


def test_a_rise_above_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'chord'"):
        rises(T, T, "cord")
