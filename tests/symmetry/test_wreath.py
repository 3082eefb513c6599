"""Wreath groups: the inner permutation is its own for every outer index, wherever no tensor forbids it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from symmetry.networks import CASES

from lmc.symmetry import find_symmetries, load_permutation, save_permutation


def spec_of(name):
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build().eval()
    return model, find_symmetries(model, case.inputs())


def layers(axes) -> set[str]:
    return {axis.param.removesuffix(".weight").removesuffix(".bias") for axis in axes}


@pytest.mark.parametrize("name", ["attention", "heads first"])
def test_inside_heads_queries_go_with_keys_and_values_with_the_output(name):
    _, spec = spec_of(name)
    heads = spec["query"]
    inner = [group for group in spec.groups if group.over == (("query", 2),)]
    assert heads.size == 2
    assert [layers(group.axes) for group in inner] == [{"query", "key"}, {"value", "out"}]
    assert all(group.shape == (2, 4) for group in inner)


def test_fused_projections_are_taken_apart():
    """One tensor holds queries, keys and values, and values move on their own."""
    _, spec = spec_of("fused attention")
    over = [group for group in spec.groups if group.over]
    assert [group.shape for group in over] == [(2, 4), (2, 4)]
    positions = [next(a for a in group.axes if a.param == "layer.self_attn.in_proj_weight").positions for group in over]
    assert positions[0][0].ravel().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]  # queries and keys of the first head
    assert positions[1][1].ravel().tolist() == [20, 21, 22, 23]  # values of the second


def test_query_heads_lie_inside_their_key_head():
    _, spec = spec_of("grouped queries")
    shapes = {tuple(sorted(layers(group.axes))): group.shape for group in spec.groups}
    assert shapes[("key", "out", "query", "value")] == (3,)
    assert shapes[("key", "query")] == (3, 4)
    assert shapes[("out", "value")] == (3, 4)
    assert shapes[("out", "query")] == (3, 2)


def test_units_inside_convolution_groups_are_free_in_each():
    _, spec = spec_of("grouped")
    assert sorted(group.shape for group in spec.groups) == [(2,), (2, 3), (2, 3), (4,)]


def test_a_tensor_that_holds_the_inner_axis_alone_forbids_it():
    _, spec = spec_of("normed heads")
    assert sorted(group.shape for group in spec.groups) == [(2,), (2, 4), (4,), (8,)]


def test_heads_that_meet_each_other_forbid_it():
    _, spec = spec_of("crossed heads")
    inside = [group for group in spec.groups if layers(group.axes) >= {"query", "key"}]
    assert all(not group.over for group in inside)


@pytest.mark.parametrize("name", ["attention", "grouped queries", "heads first", "grouped"])
@given(one=st.integers(0, 99), two=st.integers(0, 99))
def test_compose_and_inverse_with_blocks(name, one, two):
    model, spec = cached(name)
    state, first, then = model.state_dict(), spec.random(one), spec.random(two)
    twice = spec.apply(spec.apply(state, first), then)
    at_once = spec.apply(state, spec.compose(first, then))
    undone = spec.apply(spec.apply(state, first), spec.inverse(first))
    assert all(torch.equal(twice[key], at_once[key]) and torch.equal(undone[key], state[key]) for key in state)


_CACHE: dict = {}


def cached(name):
    if name not in _CACHE:
        _CACHE[name] = spec_of(name)
    return _CACHE[name]


def test_the_convention_with_an_outer_group():
    """new[h, i] = old[outer[h], inner[h, i]]."""
    model, spec = spec_of("heads first")
    outer, inner = np.array([1, 0]), np.array([[2, 0, 1, 3], [3, 2, 1, 0]])
    old = model.state_dict()["query"]
    new = spec.apply(model.state_dict(), {"query": outer, "query#2": inner})["query"]
    for h in range(2):
        for i in range(4):
            assert torch.equal(new[h, i], old[outer[h], inner[h, i]])


@pytest.mark.parametrize("name", ["grouped queries", "heads first"])
def test_blocks_survive_the_disk(name, tmp_path):
    model, spec = spec_of(name)
    perm = spec.random(1)
    loaded, again, _ = load_permutation(save_permutation(tmp_path / "p.npz", spec, perm))
    one, two = spec.apply(model.state_dict(), perm), loaded.apply(model.state_dict(), again)
    assert all(torch.equal(one[key], two[key]) for key in one)
