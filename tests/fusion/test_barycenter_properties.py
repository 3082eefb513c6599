"""What holds for every network: a layer's objective never rises, and closed forms are the definition's sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc import find_symmetries, fuse
from lmc.alignment.coupling import spread
from lmc.fusion.couple import Couple
from lmc.fusion.layers import Layers
from lmc.fusion.log_transport import entropic_plan
from lmc.fusion.problem import Problem
from lmc.symmetry import PermutationSpec
from lmc.testing import tiny_mlp


def spec_of(widths: tuple[int, ...], bias: bool) -> PermutationSpec:
    return find_symmetries(tiny_mlp(widths, bias=bias), torch.zeros(1, widths[0]))


SPECS = {
    (one, two, bias): spec_of((4, one, two, 3), bias)
    for one, two, bias in itertools.product((2, 3, 5), (2, 4), (False, True))
}


def state_of(key: tuple[int, int, bool], seed: int) -> dict[str, torch.Tensor]:
    return tiny_mlp((4, *key[:2], 3), bias=key[2], seed=seed).state_dict()


def never_rises(trace: tuple[float, ...]) -> bool:
    return all(after <= before + 1e-9 * (1 + abs(before)) for before, after in itertools.pairwise(trace))


@settings(max_examples=20, deadline=None)
@given(
    bias=st.booleans(),
    widths=st.lists(st.sampled_from([(2, 2), (3, 4), (5, 2), (5, 4)]), min_size=2, max_size=5),
    shares=st.lists(st.floats(0.1, 1), min_size=4, max_size=4),
    solver=st.sampled_from(["emd", "sinkhorn"]),
    start=st.sampled_from(["first", "random"]),
    seed=st.integers(0, 1000),
)
def test_the_objective_of_a_layer_never_rises(bias, widths, shares, solver, start, seed):
    keys = [(*pair, bias) for pair in widths]
    *keys, target = keys
    result = fuse(
        [state_of(key, seed + number) for number, key in enumerate(keys)],
        [SPECS[key] for key in keys],
        target=SPECS[target],
        mix=shares[: len(keys)],
        method=f"wb?solver={solver}&reg=0.5&start={start}&seed={seed}",
    )
    assert set(result.traces) == {"0", "2"}
    assert all(len(trace) >= 2 and never_rises(trace) for trace in result.traces.values())


def test_a_rise_would_be_seen():
    assert never_rises((3.0, 2.0, 2.0)) and not never_rises((3.0, 2.0, 2.001))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    bias=st.booleans(),
)
def test_costs_are_the_sum_over_four_indices(seed, bias):
    """``sum_ab pi[a, b] (W[j, a] - W_i[g, b])^2``, a bias as one more input coupled to itself."""
    rng = np.random.default_rng(seed)
    key, target = (5, 4, bias), (3, 2, bias)
    state = state_of(key, seed)
    plan = rng.random((3, 5))
    for _ in range(300):
        plan /= 3 * plan.sum(1, keepdims=True)
        plan /= 5 * plan.sum(0, keepdims=True)
    plan /= 3 * plan.sum(1, keepdims=True)
    layers = Layers(Problem((state,), (SPECS[key],), SPECS[target], (1.0,)))
    layers.settle(0, {"0": (plan * 3)[None]})
    (place,) = layers.places(next(one for one in layers.families if one.name == "2"))
    columns = 3 + bias
    fused = torch.from_numpy(rng.normal(size=(2, columns)))
    weights = state["2.weight"].double().numpy()
    expected = np.einsum("ab,jgab->jg", plan, (fused.numpy()[:, None, :3, None] - weights[None, :, None]) ** 2)
    if bias:
        shift = (fused.numpy()[:, None, 3] - state["2.bias"].double().numpy()) ** 2
        expected = (3 * expected + shift) / 4
    np.testing.assert_allclose(place.rows[0].cost(fused) / columns, expected, rtol=1e-6, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), sizes=st.tuples(*[st.integers(1, 7)] * 2))
def test_plans_have_their_marginals_and_entropy_costs_something(seed, sizes):
    cost = np.random.default_rng(seed).random(sizes)
    exact, note = Couple().plan(cost)
    soft, converged = entropic_plan(cost, 0.2)
    assert converged and not note
    for plan in (exact, soft, spread(*sizes)):
        np.testing.assert_allclose(plan.sum(1), 1 / sizes[0], atol=1e-6)
        np.testing.assert_allclose(plan.sum(0), 1 / sizes[1], atol=1e-6)
    assert (exact * cost).sum() <= (soft * cost).sum() + 1e-6


def test_little_entropy_neither_underflows_nor_leaves_the_exact_plan():
    cost = 1e3 * np.random.default_rng(0).random((6, 6))
    plan, _ = entropic_plan(cost, 1e-1)
    assert np.isfinite(plan).all()
    assert (plan * cost).sum() == pytest.approx((Couple().plan(cost)[0] * cost).sum(), rel=1e-3)


def test_what_reads_units_counts_too_where_it_is_asked_for():
    """Both sides: three networks end nearer to their mean over all tensors than by what makes units alone."""
    states = [tiny_mlp((6, 12, 10, 3), seed=seed).state_dict() for seed in range(3)]
    spec = find_symmetries(tiny_mlp((6, 12, 10, 3)), torch.zeros(1, 6))
    apart = {}
    for method in ("wb?sides=incoming", "wb"):
        result = fuse(states, spec, method=method)
        moved = [spec.apply(state, result.permutation(number)) for number, state in enumerate(states)]
        apart[method] = sum(float((one[key] - result.state[key]).square().sum()) for one in moved for key in one)
        assert method == "wb" or len(result.trace) == 1
    assert apart["wb"] < apart["wb?sides=incoming"]
