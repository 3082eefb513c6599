"""The straight line: exact ends, everything interpolated, nothing untied or written to."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmc._errors import GridError, MismatchError
from lmc.interpolation import LinearPath

A = {"layer.gamma": torch.tensor([1.0, -3.0]), "running_var": torch.tensor([2.0]), "steps": torch.tensor(10)}
B = {"layer.gamma": torch.tensor([2.0, 0.1]), "running_var": torch.tensor([4.0]), "steps": torch.tensor(90)}


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=5), st.integers(0, 2**16))
def test_the_ends_are_exact(values: list[float], seed: int) -> None:
    a = {"w": torch.tensor(values)}
    b = {"w": torch.randn(len(values), generator=torch.Generator().manual_seed(seed))}
    path = LinearPath(a, b)
    assert torch.equal(path.at(0)["w"], a["w"]) and torch.equal(path.at(1)["w"], b["w"])


def test_an_infinite_entry_does_not_reach_the_other_end() -> None:
    path = LinearPath({"w": torch.tensor([1.0])}, {"w": torch.tensor([float("inf")])})
    assert path.at(0.0)["w"].item() == 1.0  # 0 * inf would be NaN


def test_every_float_moves_whatever_its_name_and_integers_come_from_the_nearer_end() -> None:
    path = LinearPath(A, B)
    torch.testing.assert_close(path.at(0.25)["layer.gamma"], torch.tensor([1.25, -2.225]))
    torch.testing.assert_close(path.at(0.25)["running_var"], torch.tensor([2.5]))
    assert [path.at(t)["steps"].item() for t in (0.0, 0.5, 0.51, 1.0)] == [10, 10, 90, 90]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (torch.float16, torch.float16, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.complex64, torch.complex64, torch.complex64),
    ],
)
def test_dtypes_are_widened_alike_everywhere(a, b, expected) -> None:
    path = LinearPath({"w": torch.ones(2, dtype=a)}, {"w": torch.full((2,), 3.0, dtype=b)})
    assert {path.at(t)["w"].dtype for t in (0.0, 0.5, 1.0)} == {expected}


def test_half_weights_are_averaged_without_rounding_to_half() -> None:
    path = LinearPath({"w": torch.tensor([1.0]).half()}, {"w": torch.tensor([1.0 + 2**-10]).half()})
    assert path.at(0.5)["w"].item() == 1.0 + 2**-11


@pytest.mark.parametrize(("tied_in_b", "one"), [(True, True), (False, False)])
def test_ties_hold_where_both_ends_hold_them(tied_in_b: bool, one: bool) -> None:
    x, y = torch.ones(2), torch.zeros(2)
    path = LinearPath({"in": x, "out": x}, {"in": y, "out": y if tied_in_b else y + 1})
    state = path.at(0.5)
    assert (state["in"] is state["out"]) is one
    assert torch.equal(state["out"], torch.full((2,), 0.5 if tied_in_b else 1.0))


def test_states_are_new_tensors_and_the_ends_stay() -> None:
    a, b = copy.deepcopy((A, B))
    path = LinearPath(a, b)
    for t in (0.0, 0.5, 1.0):
        for value in path.at(t).values():
            value.zero_()
    assert all(torch.equal(a[name], A[name]) and torch.equal(b[name], B[name]) for name in A)


def test_gradients_are_not_tracked() -> None:
    weight = torch.ones(2, requires_grad=True)
    assert not LinearPath({"w": weight}, {"w": weight}).at(0.5)["w"].requires_grad


@pytest.mark.parametrize(
    ("b", "told"),
    [
        ({"weights": torch.zeros(2)}, "'weight' is only in A. Did you mean 'weights'"),
        ({"weight": torch.zeros(3)}, r"\(2,\) in A and \(3,\) in B"),
        ({"weight": torch.zeros(2, dtype=torch.int64)}, "float32 in A and torch.int64 in B"),
        ({"weight": torch.zeros(2, device="meta")}, "on cpu in A and on meta in B"),
    ],
)
def test_ends_of_two_spaces_are_refused_with_what_differs(b, told) -> None:
    with pytest.raises(MismatchError, match=told):
        LinearPath({"weight": torch.zeros(2)}, b)


@pytest.mark.parametrize("t", [-0.1, 1.1, float("nan")])
def test_a_position_off_the_path_is_refused(t: float) -> None:
    with pytest.raises(GridError):
        LinearPath(A, B).at(t)
