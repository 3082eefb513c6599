"""``weights+sinkhorn``: the second method starts from where the first has put B."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known import known

from lmc._errors import UsageError
from lmc._methods import ALIGNMENTS, load_method
from lmc.alignment import Composition, RandomPermutation, SinkhornRebasin, WeightMatching, align
from lmc.symmetry import find_symmetries
from lmc.testing import fake_classification, planted_pair, tiny_mlp

MODEL = tiny_mlp((6, 8, 7, 3))
SPEC = find_symmetries(MODEL, torch.zeros(1, 6))
A, B = MODEL.state_dict(), tiny_mlp((6, 8, 7, 3), seed=1).state_dict()


def test_a_plus_joins_methods_with_their_options_and_defaults():
    method = load_method("weights?restarts=2+sinkhorn?lr=1e-1&steps=5", ALIGNMENTS, "alignment", seed=7)
    assert method == Composition((WeightMatching(restarts=2, seed=7), SinkhornRebasin(lr=0.1, steps=5, seed=7)))


def test_a_plus_in_a_number_joins_nothing():
    assert load_method("sinkhorn?lr=1e+1", ALIGNMENTS, "alignment") == SinkhornRebasin(lr=10.0)


def test_the_permutation_is_that_of_both():
    first, second = RandomPermutation(seed=1), RandomPermutation(seed=2)
    both = align(A, B, SPEC, method=Composition((first, second)))
    expected = SPEC.apply(SPEC.apply(B, SPEC.random(1)), SPEC.random(2))
    assert all(torch.equal(tensor, expected[key]) for key, tensor in both.apply(B).items())
    assert both.method == "random?seed=1+random?seed=2"


def test_it_holds_inside_heads_too():
    _, state, spec = known("grouped queries")
    b, _ = planted_pair(state, spec, seed=5)
    result = align(state, b, spec, method="random?seed=3+frank-wolfe?restarts=1")
    assert all(torch.equal(tensor, state[key]) for key, tensor in result.apply(b).items())


def test_the_second_starts_from_the_first():
    """Its own start is what the first has left; alone it starts from B."""
    given = {"data": fake_classification((6,)), "module": MODEL}
    first = align(A, B, SPEC, method="weights")
    both = align(A, B, SPEC, method="weights+sinkhorn?steps=1", **given)
    after = align(A, first.apply(B), SPEC, method="sinkhorn?steps=1&start=same", **given)
    alone = align(A, B, SPEC, method="sinkhorn?steps=1&start=same", **given)
    assert both.trace == after.trace != alone.trace
    assert "; then " in both.message
    assert both.citation.count("@inproceedings") == 2
    assert np.isfinite(both.objective)


def test_what_it_needs_is_what_any_of_them_needs():
    assert load_method("weights+frank-wolfe", ALIGNMENTS, "alignment").needs == "none"
    assert load_method("weights+sinkhorn", ALIGNMENTS, "alignment").needs == "data"
    with pytest.raises(UsageError, match="pass data="):
        align(A, B, SPEC, method="weights+ste")


def test_a_typo_in_the_second_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'sinkhorn'"):
        load_method("weights+sinkhron", ALIGNMENTS, "alignment")
    with pytest.raises(UsageError, match="at least one"):
        Composition(())
