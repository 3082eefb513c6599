"""Planes: modes exact, coordinates orthonormal, everything moved or kept as said, nothing written to."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc._errors import GridError, MismatchError, UsageError
from lmc.interpolation import LinearPath, Plane

State = dict[str, torch.Tensor]


def state(seed: int, scale: float = 1.0) -> State:
    draw = torch.Generator().manual_seed(seed)
    return {
        "conv.weight": scale * torch.randn(4, 3, 2, 2, generator=draw),
        "bn.weight": torch.rand(4, generator=draw) + 0.5,
        "bn.running_mean": 50 * torch.randn(4, generator=draw),
        "bn.running_var": torch.rand(4, generator=draw) + 0.1,
        "bn.num_batches_tracked": torch.tensor(10 * seed),
        "fc.weight": scale * torch.randn(2, 4, generator=draw),
        "fc.bias": torch.randn(2, generator=draw),
    }


PARAMETERS = ("conv.weight", "bn.weight", "fc.weight", "fc.bias")
MODES = [state(seed) for seed in (1, 2, 3)]


def flat(one: State) -> torch.Tensor:
    return torch.cat([one[name].double().reshape(-1) for name in PARAMETERS])


@given(st.integers(0, 2**16), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_modes_are_exact_at_their_coordinates(seed: int, scale: float) -> None:
    modes = [state(seed + k, scale) for k in range(3)]
    plane = Plane.through(*modes)
    for (u, v), mode in zip(plane.coordinates, modes, strict=True):
        found = plane.at(u, v)
        assert list(found) == list(mode)
        assert all(torch.equal(found[name], mode[name]) for name in mode)


@given(*(st.floats(-60, 60) for _ in range(4)))
@settings(max_examples=30, deadline=None)
def test_distances_on_the_plane_are_those_of_parameters(u: float, v: float, x: float, y: float) -> None:
    plane = Plane.through(*MODES)
    distance = (flat(plane.at(u, v)) - flat(plane.at(x, y))).norm().item()
    assert distance == pytest.approx(np.hypot(u - x, v - y), rel=1e-4, abs=1e-4)


def test_buffers_do_not_count_as_distance_and_move_all_the_same() -> None:
    plane = Plane.through(*MODES)
    assert plane.coordinates[1, 0] == pytest.approx((flat(MODES[1]) - flat(MODES[0])).norm().item())
    u, v = plane.coordinates.mean(axis=0)
    found = plane.at(u, v)
    mean = sum(mode["bn.running_mean"] for mode in MODES) / 3
    torch.testing.assert_close(found["bn.running_mean"], mean)
    torch.testing.assert_close(found["fc.bias"], sum(mode["fc.bias"] for mode in MODES) / 3)


def test_gram_schmidt_puts_b_on_the_first_axis_and_c_above_it() -> None:
    plane = Plane.through(*MODES)
    a, b, c = (flat(mode) for mode in MODES)
    along = (b - a) / (b - a).norm()
    assert tuple(plane.coordinates[0]) == (0, 0) and plane.coordinates[1, 1] == 0 and plane.coordinates[2, 1] > 0
    assert plane.coordinates[2, 0] == pytest.approx(((c - a) @ along).item())
    assert np.hypot(*plane.coordinates[2]) == pytest.approx((c - a).norm().item())


def test_between_two_modes_the_plane_is_the_line() -> None:
    plane, path = Plane.through(*MODES), LinearPath(MODES[0], MODES[1])
    there = plane.at(0.3 * plane.coordinates[1, 0], 0.0)
    for name, value in path.at(0.3).items():
        torch.testing.assert_close(there[name], value, rtol=1e-5, atol=1e-5)


def test_variances_stay_positive_where_the_sum_of_weights_would_not_keep_them() -> None:
    plane = Plane.through(*MODES)
    u, v = 4 * plane.coordinates[1] - 3 * plane.coordinates[2]
    weights = plane.weights(u, v)
    least = torch.stack([mode["bn.running_var"] for mode in MODES]).amin(dim=0)
    plain = sum(w * mode["bn.running_var"] for w, mode in zip(weights.tolist(), MODES, strict=True))
    assert (plain < 0).any(), "the case would be none otherwise"
    assert (plane.at(u, v)["bn.running_var"] >= least).all()


def test_integers_come_from_the_mode_that_weighs_most_and_states_are_new() -> None:
    kept = copy.deepcopy(MODES)
    plane = Plane.through(*MODES)
    for k, (u, v) in enumerate(0.8 * plane.coordinates + 0.2 * plane.coordinates.mean(axis=0)):
        assert plane.at(u, v)["bn.num_batches_tracked"] == MODES[k]["bn.num_batches_tracked"]
        for value in plane.at(u, v).values():
            value.zero_()
    for u, v in plane.coordinates:
        for value in plane.at(u, v).values():
            value.zero_()
    assert all(torch.equal(mode[name], old[name]) for mode, old in zip(MODES, kept, strict=True) for name in old)


def test_tied_tensors_stay_one_and_count_once() -> None:
    modes = [{"in": x, "out": x} for x in torch.eye(3)]
    plane = Plane.through(*modes)
    assert plane.coordinates[1, 0] == pytest.approx(np.sqrt(2))
    found = plane.at(0.3, 0.2)
    assert found["in"] is found["out"]
    for parameters in (None, ["in"]):  # a module lists a tied tensor once
        around = Plane.around({"in": (w := torch.eye(3)), "out": w}, seed=1, parameters=parameters).at(0.5, 0.5)
        assert around["in"] is around["out"] and not torch.equal(around["in"], w)


@given(st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_projection_undoes_at_and_tells_the_distance(u: float, v: float) -> None:
    for plane in (Plane.through(*MODES), Plane.around(MODES[0], seed=3)):
        assert plane.project(plane.at(u, v)) == pytest.approx((u, v, 0), abs=2e-3)
    away = plane.at(u, v)
    normal = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(9)).double()
    basis = [
        p["conv.weight"].double() - plane.at(0, 0)["conv.weight"].double() for p in (plane.at(1, 0), plane.at(0, 1))
    ]
    first = basis[0] / basis[0].norm()
    second = basis[1] - (basis[1] * first).sum() * first
    second /= second.norm()
    for direction in (first, second):
        normal -= (normal * direction).sum() * direction
    moved = away | {"conv.weight": away["conv.weight"] + normal.float()}
    # Orthogonal to both directions within the one tensor, so orthogonal altogether.
    assert plane.project(moved)[2] == pytest.approx(normal.norm().item(), rel=1e-2)


def test_random_directions_are_as_long_as_the_filters() -> None:
    plane = Plane.around(MODES[0], seed=5)
    for u, v in ((1.0, 0.0), (0.0, 1.0)):
        step = {name: value - MODES[0][name] for name, value in plane.at(u, v).items()}
        for name in ("conv.weight", "fc.weight"):
            norms = [x.flatten(1).norm(dim=1) for x in (step[name], MODES[0][name])]
            torch.testing.assert_close(*norms, rtol=1e-4, atol=1e-5)
        for name in set(step) - {"conv.weight", "fc.weight"}:
            assert not step[name].any(), name
    assert plane.names == ("A",) and tuple(plane.coordinates[0]) == (0, 0)
    assert all(torch.equal(plane.at(0, 0)[name], MODES[0][name]) for name in MODES[0])


def test_random_directions_follow_their_seed_alone() -> None:
    torch.manual_seed(1)
    one = Plane.around(MODES[0], seed=5).at(1, 1)
    torch.manual_seed(2)
    same, other = Plane.around(MODES[0], seed=5).at(1, 1), Plane.around(MODES[0], seed=6).at(1, 1)
    assert torch.equal(one["fc.weight"], same["fc.weight"])
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


def test_a_filter_of_zeros_stays_zero() -> None:
    weight = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    found = Plane.around({"weight": weight}).at(2.0, 1.0)["weight"]
    assert torch.equal(found[0], weight[0]) and not torch.equal(found[1], weight[1])


@pytest.mark.parametrize(
    ("modes", "told"),
    [
        ((MODES[0], MODES[0], MODES[1]), "A and B are the same weights"),
        ((MODES[0], MODES[1], MODES[1]), "B and C are the same weights"),
        ((MODES[0], MODES[1], LinearPath(MODES[0], MODES[1]).at(0.3)), "C lies on the line of A, B"),
        ((MODES[0], MODES[1], {**MODES[2], "fc.bias": torch.zeros(3)}), r"(?s)not two points.*A plane needs equal"),
    ],
)
def test_what_spans_no_plane_is_refused_with_the_reason(modes, told) -> None:
    with pytest.raises(MismatchError, match=told):
        Plane.through(*modes)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no parameter 'fc\.weigth'"):
        Plane.through(*MODES, parameters=["fc.weigth"])
    with pytest.raises(MismatchError, match="No direction leads away from A"):
        Plane.around({"bias": torch.ones(3)})
    for u in (float("nan"), float("inf")):
        with pytest.raises(GridError, match="two finite numbers"):
            Plane.through(*MODES).at(u, 0.0)


def test_half_precision_is_mixed_in_single() -> None:
    modes = [{"w": x.half()} for x in torch.eye(3)]
    assert Plane.through(*modes).at(0.3, 0.1)["w"].dtype == torch.float32
