"""The arc: directions turn evenly, lengths change evenly, whatever is no direction moves on the line."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc._errors import UsageError
from lmc.interpolation import LinearPath, SphericalPath
from lmc.testing import tiny_cnn


def draw(seed: int, scale: float = 1.0, size: int = 40) -> torch.Tensor:
    return scale * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 999), scale=st.floats(0.01, 100), t=st.floats(0, 1))
def test_direction_and_length_change_evenly(seed, scale, t) -> None:
    a, b = draw(seed), draw(seed + 1000, scale)
    point = SphericalPath({"w": a}, {"w": b}, ["w"]).at(t)["w"]
    assert float(point.norm()) == pytest.approx((1 - t) * float(a.norm()) + t * float(b.norm()), rel=1e-9)
    whole = math.acos(float(a @ b / (a.norm() * b.norm())))
    part = math.acos(max(-1.0, min(1.0, float(a @ point / (a.norm() * point.norm())))))
    assert part == pytest.approx(t * whole, abs=1e-6)


def test_the_line_is_shorter_in_the_middle_so_that_the_test_above_can_fail() -> None:
    a, b = draw(0), draw(1)
    middle = LinearPath({"w": a}, {"w": b}).at(0.5)["w"]
    assert float(middle.norm()) < 0.9 * (float(a.norm()) + float(b.norm())) / 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_ends_are_exact(dtype) -> None:
    a, b = draw(0).to(dtype), draw(1).to(dtype)
    path = SphericalPath({"w": a}, {"w": b}, ["w"])
    assert torch.equal(path.at(0)["w"], a.float()) and torch.equal(path.at(1)["w"], b.float())
    assert path.at(0.5)["w"].dtype == torch.float32
    assert path.ends[0]["w"].dtype == dtype


def test_tensors_turn_each_by_its_own_angle_and_shared_ones_stay() -> None:
    shared = torch.randn(7, generator=torch.Generator().manual_seed(3))
    a, b = {"w": draw(0), "gamma": shared}, {"w": draw(1), "gamma": shared.clone()}
    assert torch.equal(SphericalPath(a, b, ["w", "gamma"]).at(0.3)["gamma"], shared)


@pytest.mark.parametrize(
    ("a", "b"),
    [([0.5], [-0.2]), ([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [-2.0, -4.0]), ([1.0, 2.0], [2.0, 4.0])],
    ids=["opposite numbers", "zero", "opposite", "parallel"],
)
def test_without_a_plane_to_turn_in_a_tensor_moves_on_the_line(a, b) -> None:
    ends = {"w": torch.tensor(a)}, {"w": torch.tensor(b)}
    for t in (0.0, 0.25, 0.9):
        torch.testing.assert_close(SphericalPath(*ends, ["w"]).at(t)["w"], LinearPath(*ends).at(t)["w"])


def test_nearly_opposite_tensors_of_unequal_length_stay_bounded() -> None:
    """The textbook formula on vectors that are not normalised grows beyond both ends here."""
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([-3.0, 0.001])
    norms = [float(SphericalPath({"w": a}, {"w": b}, ["w"]).at(t)["w"].norm()) for t in (0.25, 0.5, 0.75)]
    assert norms == pytest.approx([1.5, 2.0, 2.5], rel=1e-4)
    angle = math.pi - 0.001 / 3
    assert float((a + b).norm()) / (2 * math.cos(angle / 2)) > 100


def test_buffers_move_on_the_line_and_integers_jump() -> None:
    a, b = (tiny_cnn(seed=seed) for seed in (0, 1))
    states = a.state_dict(), b.state_dict()
    parameters = dict(a.named_parameters())
    arc, line = SphericalPath(*states, parameters).at(0.4), LinearPath(*states).at(0.4)
    for name in states[0]:
        assert torch.equal(arc[name], line[name]) is (name not in parameters), name


def test_tied_tensors_stay_one_and_turn_together() -> None:
    x, y = draw(0), draw(1)
    path = SphericalPath({"in": x, "out": x}, {"in": y, "out": y}, ["in"])
    state = path.at(0.5)
    assert state["in"] is state["out"]
    assert float(state["out"].norm()) == pytest.approx((float(x.norm()) + float(y.norm())) / 2)


def test_it_says_how_far_it_turns() -> None:
    path = SphericalPath({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}, ["w"])
    assert "1 parameter tensors" in path.description and "90 degrees" in path.description


@pytest.mark.parametrize("name", ["weigth", "steps"])
def test_names_that_cannot_turn_are_refused(name) -> None:
    state = {"weight": torch.ones(2), "steps": torch.tensor(1)}
    with pytest.raises(UsageError, match="no floating tensor"):
        SphericalPath(state, state, [name])
