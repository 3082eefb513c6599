"""Many models in one order: planted permutations are found, round trips close, brute force agrees."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from known import known

from lmc._errors import MismatchError, SymmetryError, UsageError
from lmc.alignment import align_many
from lmc.alignment.many import total_inner
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair, tiny_mlp

METHODS = ["cycle-consistent", "merge-many", "pivot"]
SMALL = tiny_mlp((3, 4, 2))
SPEC = find_symmetries(SMALL, torch.zeros(1, 3))
STATES = [tiny_mlp((3, 4, 2), seed=seed).state_dict() for seed in range(3)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mlp", "grouped queries", "lstm", "tied embedding"])
def test_planted_permutations_of_many_are_undone(method, name):
    _, state, spec = known(name)
    states = [state, *(planted_pair(state, spec, seed=seed)[0] for seed in (1, 2, 3))]
    result = align_many(states, spec, method=method, reference=2)
    for moved in result.apply(states):
        assert all(torch.equal(tensor, states[2][key]) for key, tensor in moved.items())
    assert result.converged
    assert all(np.array_equal(perm, spec.identity()[name]) for name, perm in result.permutations[2].items())


@pytest.mark.parametrize("name", ["mlp", "grouped queries"])
def test_round_trips_close_and_the_check_can_fail(name):
    _, state, spec = known(name)
    states = [planted_pair(state, spec, noise=1.5, seed=seed)[0] for seed in range(4)]
    result = align_many(states, spec, method="pivot")
    result.check_closed()
    for i, j, k in itertools.permutations(range(4), 3):
        direct, around = result.between(i, k), spec.compose(result.between(j, k), result.between(i, j))
        assert all(np.array_equal(direct[key], around[key]) for key in direct)

    class Drifting(type(result)):
        def between(self, i, j):
            return spec.random(i) if i < j else super().between(i, j)

    broken = Drifting(**{f: getattr(result, f) for f in result.__dataclass_fields__})
    with pytest.raises(SymmetryError, match="do not close"):
        broken.check_closed()


def test_between_brings_one_model_into_the_order_of_another():
    result = align_many(STATES, SPEC, method="merge-many")
    common = result.apply(STATES)
    in_order_of_1 = SPEC.apply(STATES[2], result.between(1, 2))
    back = SPEC.apply(common[2], SPEC.inverse(result.permutations[1]))
    assert all(torch.equal(tensor, back[key]) for key, tensor in in_order_of_1.items())


def test_brute_force_over_three_models():
    """24 x 24 pairs of permutations: the joint method reaches the best, the pivot cannot do better."""
    name = SPEC.groups[0].name
    orders = [{name: np.array(order)} for order in itertools.permutations(range(4))]
    best = max(total_inner(STATES, SPEC, (SPEC.identity(), *pair)) for pair in itertools.product(orders, repeat=2))
    found = {method: align_many(STATES, SPEC, method=method).objective for method in METHODS}
    joint = align_many(STATES, SPEC, base="frank-wolfe?restarts=16")
    assert joint.objective == pytest.approx(best, rel=1e-9)
    assert max(found.values()) <= best * (1 + 1e-9)
    assert found["merge-many"] >= 0.9 * best


def test_the_objective_is_the_sum_over_pairs_and_rises():
    result = align_many(STATES, SPEC, method="merge-many")
    moved = result.apply(STATES)
    pairs = itertools.combinations(moved, 2)
    expected = sum(float((one[key].double() * two[key].double()).sum()) for one, two in pairs for key in one)
    assert result.objective == pytest.approx(expected, rel=1e-9)
    assert np.all(np.diff(result.trace) >= -1e-9 * abs(result.objective))


def test_two_models_are_aligned_as_a_pair():
    result = align_many(STATES[:2], SPEC, method="pivot")
    assert "each of 1" in result.message


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'merge-many'"):
        align_many(STATES, SPEC, method="merge-mnay")
    with pytest.raises(UsageError, match="two models or more"):
        align_many(STATES[:1], SPEC)
    with pytest.raises(UsageError, match="reference=3"):
        align_many(STATES, SPEC, reference=3)
    with pytest.raises(UsageError, match="solved by 'frank-wolfe'"):
        align_many(STATES, SPEC, base="weights")
    broken = {key: torch.full_like(t, float("nan")) for key, t in STATES[1].items()}
    with pytest.raises(MismatchError, match="model 1 are NaN"):
        align_many([STATES[0], broken], SPEC)
    with pytest.raises(UsageError, match="2 state dicts for an alignment of 3"):
        align_many(STATES, SPEC).apply(STATES[:2])
