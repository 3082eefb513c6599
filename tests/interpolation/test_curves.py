"""Polygonal chains and Bezier curves: exact ends, weights that sum to one, nothing untied, rounded or written to."""

from __future__ import annotations

import copy
import itertools
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc._errors import GridError, MismatchError, UsageError
from lmc.interpolation import CURVES, BezierPath, LinearPath, PolygonalPath

KINDS = pytest.mark.parametrize("curve", [BezierPath, PolygonalPath])
POSITIONS = st.floats(0, 1)


def bends(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {"w": torch.randn(3, 2, generator=generator).to(dtype), "steps": torch.tensor(10 * k)} for k in range(count)
    ]


@KINDS
@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_ends_are_exact(curve, count, dtype) -> None:
    points = bends(count, dtype=dtype)
    path = curve(points)
    for t, end in ((0, points[0]), (1, points[-1])):
        state = path.at(t)
        assert state["w"].dtype == torch.promote_types(dtype, torch.float32)
        assert torch.equal(state["w"].to(dtype), end["w"]) and torch.equal(state["steps"], end["steps"])
    assert all(torch.equal(path.ends[k][name], points[-k][name]) for k in (0, 1) for name in points[0])


@pytest.mark.parametrize("curve", [BezierPath, PolygonalPath])
@given(t=POSITIONS, count=st.integers(2, 9))
def test_the_weights_are_a_partition_of_unity_and_the_same_from_both_sides(curve, t, count) -> None:
    weights = curve.weights(t, count)
    assert weights.shape == (count,) and (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert np.allclose(weights, curve.weights(1 - t, count)[::-1], atol=1e-13)
    for end, only in ((0.0, 0), (1.0, count - 1)):
        assert (curve.weights(end, count) == np.eye(count)[only]).all()


@given(t=POSITIONS)
def test_a_quadratic_bezier_curve_is_what_the_paper_writes(t) -> None:
    a, middle, b = (bend["w"].double() for bend in bends(3))
    expected = (1 - t) ** 2 * a + 2 * t * (1 - t) * middle + t**2 * b
    torch.testing.assert_close(BezierPath(bends(3)).at(t)["w"].double(), expected, atol=1e-6, rtol=1e-6)


@given(t=POSITIONS, count=st.integers(3, 6))
def test_a_bezier_curve_is_de_casteljaus(t, count) -> None:
    """Repeated interpolation between neighbours, an algorithm that knows no binomials."""
    points = [bend["w"].double() for bend in bends(count)]
    while len(points) > 1:
        points = [torch.lerp(x, y, t) for x, y in itertools.pairwise(points)]
    torch.testing.assert_close(BezierPath(bends(count)).at(t)["w"].double(), points[0], atol=1e-6, rtol=1e-6)


@given(t=POSITIONS, count=st.integers(2, 6))
def test_a_polygonal_chain_is_a_line_between_neighbours(t, count) -> None:
    points = bends(count)
    segment = min(int(t * (count - 1)), count - 2)
    line = LinearPath(points[segment], points[segment + 1])
    expected = line.at(min(1.0, t * (count - 1) - segment))["w"]
    torch.testing.assert_close(PolygonalPath(points).at(t)["w"], expected, atol=1e-6, rtol=1e-6)


def test_a_polygonal_chain_touches_its_bends_and_a_bezier_curve_does_not() -> None:
    points = bends(5)
    for k, bend in enumerate(points):
        assert torch.equal(PolygonalPath(points).at(k / 4)["w"], bend["w"])
    assert not torch.allclose(BezierPath(points).at(0.5)["w"], points[2]["w"])


@KINDS
def test_what_all_bends_share_stays_exactly(curve) -> None:
    shared = torch.randn(200, generator=torch.Generator().manual_seed(1))
    path = curve([{"w": shared.clone()} for _ in range(4)])
    positions = np.linspace(0, 1, 23)
    assert all(torch.equal(path.at(t)["w"], shared) for t in positions)
    # A plain weighted sum does not manage that, so that the test can fail.
    plain = [sum(float(w) * shared for w in curve.weights(t, 4)) for t in positions]
    assert not all(torch.equal(x, shared) for x in plain)


def test_integers_come_from_the_bend_that_weighs_most() -> None:
    polygonal, bezier = PolygonalPath(bends(3)), BezierPath(bends(3))
    assert [polygonal.at(t)["steps"].item() for t in (0.0, 0.25, 0.26, 0.74, 0.76, 1.0)] == [0, 0, 10, 10, 20, 20]
    assert [bezier.at(t)["steps"].item() for t in (0.0, 0.3, 0.5, 0.7, 1.0)] == [0, 0, 10, 20, 20]


@KINDS
def test_dtypes_are_the_same_everywhere(curve) -> None:
    for dtypes in ((torch.float16, torch.float32, torch.bfloat16), (torch.float32, torch.float64, torch.float32)):
        path = curve([{"w": torch.ones(2, dtype=dtype)} for dtype in dtypes])
        expected = reduce(torch.promote_types, dtypes, torch.float32)
        assert {path.at(t)["w"].dtype for t in (0.0, 0.3, 0.5, 1.0)} == {expected}


@KINDS
def test_complex_tensors_move_and_what_is_infinite_stays_at_its_end(curve) -> None:
    path = curve([{"w": torch.full((1,), z)} for z in (1 + 1j, 3 + 1j, 5 + 1j)])
    torch.testing.assert_close(path.at(0.5)["w"], torch.tensor([3 + 1j]))
    broken = curve([{"w": torch.tensor([x])} for x in (1.0, 2.0, float("inf"))])
    assert broken.at(0.0)["w"].item() == 1.0


@KINDS
def test_ties_hold_where_every_bend_holds_them(curve) -> None:
    tied = [{"in": x, "out": x} for x in (torch.zeros(2), torch.ones(2), torch.full((2,), 5.0))]
    state = curve(tied).at(0.3)
    assert state["in"] is state["out"]
    apart = [*tied[:2], {"in": tied[2]["in"], "out": tied[2]["in"] + 1}]
    state = curve(apart).at(0.8)
    assert not torch.equal(state["in"], state["out"])


@KINDS
def test_states_are_new_tensors_without_gradients_and_the_bends_stay(curve) -> None:
    points = bends(3)
    points[1]["w"].requires_grad_()
    kept, path = copy.deepcopy(points), curve(points)
    for t in (0.0, 0.4, 0.5, 1.0):
        for value in path.at(t).values():
            assert not value.requires_grad
            value.zero_()
    assert all(torch.equal(points[k][name], kept[k][name]) for k in range(3) for name in kept[k])


@KINDS
def test_what_is_no_curve_is_refused_with_the_bend(curve) -> None:
    with pytest.raises(UsageError, match="two bends or more"):
        curve(bends(1))
    with pytest.raises(MismatchError, match=r"bend 2 .*\n.*'w' is only in A"):
        curve([*bends(2), {"v": torch.zeros(3, 2), "steps": torch.tensor(0)}])
    for t in (-0.1, 1.1, float("nan")):
        with pytest.raises(GridError):
            curve(bends(3)).at(t)


@pytest.mark.parametrize(("kind", "curve"), CURVES.items())
def test_a_curve_says_what_it_is(kind, curve) -> None:
    assert kind in curve(bends(4)).description.lower() and "4 bends" in curve(bends(4)).description
