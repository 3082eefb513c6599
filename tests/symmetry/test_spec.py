"""Applying permutations: the convention, its algebra, and what is kept of the caller's state dict."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from symmetry.networks import CASES, Tied

from lmc import _types
from lmc._errors import InputError, MismatchError, UsageError
from lmc.symmetry import find_symmetries, load_permutation, save_permutation
from lmc.testing import tiny_cnn, tiny_mlp

MODEL = tiny_cnn()
SPEC = find_symmetries(MODEL, torch.zeros(2, 1, 8, 8))


def equal(a, b) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_new_i_is_old_perm_i():
    model = tiny_mlp((2, 4, 1))
    spec = find_symmetries(model, torch.zeros(1, 2))
    perm = np.array([2, 0, 3, 1])
    state = model.state_dict()
    moved = spec.apply(state, {"0": perm})
    for i in range(4):
        assert torch.equal(moved["0.weight"][i], state["0.weight"][perm[i]])
        assert torch.equal(moved["2.weight"][:, i], state["2.weight"][:, perm[i]])


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_compose_and_inverse(one, two):
    state, first, then = MODEL.state_dict(), SPEC.random(one), SPEC.random(two)
    step_by_step = SPEC.apply(SPEC.apply(state, first), then)
    assert equal(step_by_step, SPEC.apply(state, SPEC.compose(first, then)))
    assert equal(SPEC.apply(SPEC.apply(state, first), SPEC.inverse(first)), state)


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_index_vectors_compose_like_indexing(one, two):
    old, first, then = np.arange(6) * 10, np.array(one), np.array(two)
    assert np.array_equal(old[first][then], old[_types.compose(first, then)])
    assert np.array_equal(old[first][_types.invert(first)], old)


@pytest.mark.parametrize("name", CASES)
def test_outputs_stay_on_the_networks_own_weights(name):
    case = CASES[name]
    model = case.build().eval().double()
    inputs = tuple(x.double() if x.is_floating_point() else x for x in case.inputs())
    spec = find_symmetries(model, inputs)
    moved = spec.apply(model.state_dict(), spec.random(1))
    after = torch.func.functional_call(model, moved, inputs)
    assert torch.allclose(model(*inputs), after, rtol=1e-10, atol=1e-12)


def test_nothing_of_the_callers_is_changed_and_dtypes_stay():
    state = {name: t.half() if t.is_floating_point() else t for name, t in MODEL.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in state.items()}
    moved = SPEC.apply(state, SPEC.random(0))
    assert equal(before, state)
    assert [t.dtype for t in moved.values()] == [t.dtype for t in state.values()]


def test_ties_are_kept():
    model = Tied().eval()
    spec = find_symmetries(model, torch.zeros(1, 3, dtype=torch.int64))
    moved = spec.apply(model.state_dict(), spec.random(0))
    assert moved["embed.weight"] is moved["head.weight"]
    assert not torch.equal(moved["embed.weight"], model.embed.weight)


def test_copies_under_tied_names_are_both_permuted():
    """Some formats store both copies of a tied tensor."""
    model = Tied().eval()
    spec = find_symmetries(model, torch.zeros(1, 3, dtype=torch.int64))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = spec.apply(state, spec.random(0))
    assert torch.equal(moved["embed.weight"], moved["head.weight"])


def test_a_typo_in_a_group_is_caught_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"Unknown permutation group 'O'"):
        SPEC.apply(MODEL.state_dict(), {"O": np.arange(4)})


@pytest.mark.parametrize("bad", [[0, 0, 1, 2], [0, 1, 2], [0, 1, 2, 4]])
def test_an_index_vector_that_is_no_permutation_is_refused(bad):
    with pytest.raises(UsageError, match=r"needs a permutation of 0\.\.3"):
        SPEC.apply(MODEL.state_dict(), {"0": np.array(bad)})


def test_unknown_missing_and_misshaped_names_are_listed_before_anything_is_done():
    state = dict(MODEL.state_dict())
    state["0.wieght"] = state.pop("0.weight")
    state["4.weight"] = state["4.weight"][:2]
    with pytest.raises(
        MismatchError, match=r"(?s)'4.weight' has shape \(2, 4.*'0.wieght' is unexpected.*Did you mean '0.weight'"
    ):
        SPEC.apply(state, {})


def test_a_permutation_survives_the_disk_and_needs_no_network(tmp_path):
    perm = SPEC.random(3)
    path = save_permutation(tmp_path / "p.npz", SPEC, perm, {"source": "here"})
    spec, loaded, about = load_permutation(path)
    assert about == {"source": "here"}
    assert equal(spec.apply(MODEL.state_dict(), loaded), SPEC.apply(MODEL.state_dict(), perm))


def test_a_file_that_holds_no_permutation_is_refused_by_name(tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, a=np.arange(3))
    with pytest.raises(InputError, match=r"p\.npz holds no permutation"):
        load_permutation(path)
    path.write_bytes(b"PK not really")
    with pytest.raises(InputError, match=r"p\.npz holds no permutation"):
        load_permutation(path)


def test_a_permutation_file_that_reaches_outside_its_tensors_is_refused(tmp_path):
    save_permutation(tmp_path / "p.npz", SPEC, SPEC.identity())
    with np.load(tmp_path / "p.npz") as archive:
        held = dict(archive)
    held["__spec__"] = np.array(str(held["__spec__"]).replace('"0.weight", 0, null', '"0.weight", 0, [[0, 1, 2, 9]]'))
    np.savez(tmp_path / "q.npz", **held)
    with pytest.raises(InputError, match="does not fit its shape"):
        load_permutation(tmp_path / "q.npz")
