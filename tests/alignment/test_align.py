"""What every method gives: a permutation of the spec, B's function kept, nothing of the caller's changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from symmetry.networks import CASES

from lmc._errors import MismatchError, UsageError
from lmc._methods import ALIGNMENTS, load_method
from lmc.alignment import Identity, RandomPermutation, WeightMatching, align
from lmc.alignment.weight_matching import inner
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair, tiny_cnn, tiny_mlp

MODEL = tiny_mlp((6, 8, 7, 3))
SPEC = find_symmetries(MODEL, torch.zeros(1, 6))
X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
EXAMPLES = {"data": (X, torch.zeros(64, dtype=torch.int64)), "module": MODEL}
A, B = MODEL.state_dict(), tiny_mlp((6, 8, 7, 3), seed=1).state_dict()


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_every_method_keeps_the_function_and_its_inputs(name):
    method = load_method(name, ALIGNMENTS, "alignment")
    before = {key: (A[key].clone(), B[key].clone()) for key in A}
    result = align(A, B, SPEC, method=method, **EXAMPLES)
    x = torch.linspace(-1, 1, 12).reshape(2, 6)
    aligned = torch.func.functional_call(MODEL, result.apply(B), (x,))
    assert torch.allclose(aligned, torch.func.functional_call(MODEL, B, (x,)), atol=1e-6)
    assert set(result.permutation) == {group.name for group in SPEC.groups}
    assert all(torch.equal(A[key], a) and torch.equal(B[key], b) for key, (a, b) in before.items())


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_every_method_is_reproducible(name):
    methods = [load_method(name, ALIGNMENTS, "alignment", seed=3) for _ in range(2)]
    one, two = (align(A, B, SPEC, method=method, **EXAMPLES) for method in methods)
    assert all(np.array_equal(one.permutation[key], two.permutation[key]) for key in one.permutation)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.sizes])
def test_a_planted_permutation_is_recovered_exactly(name):
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build().eval()
    spec = find_symmetries(model, case.inputs())
    b, answer = planted_pair(model.state_dict(), spec, seed=5)
    result = align(model.state_dict(), b, spec)
    recovered = result.apply(b)
    assert result.converged
    assert all(torch.equal(recovered[key], tensor) for key, tensor in model.state_dict().items())
    assert any(not np.array_equal(perm, np.arange(len(perm))) for perm in answer.values())


def test_noise_of_half_the_weights_spread_leaves_nearly_all_units_found():
    model = tiny_cnn((1, 16, 24))
    spec = find_symmetries(model, torch.zeros(2, 1, 8, 8))
    b, answer = planted_pair(model.state_dict(), spec, noise=0.5, seed=1)
    result = align(model.state_dict(), b, spec)
    found = sum(int((result.permutation[name] == perm).sum()) for name, perm in answer.items())
    assert found >= 0.95 * spec.units


def test_weight_matching_reaches_the_best_of_all_permutations_on_a_tiny_network():
    """Exhaustive search over both groups, scored directly."""
    small = tiny_mlp((3, 4, 3, 2))
    spec = find_symmetries(small, torch.zeros(1, 3))
    a, b = small.state_dict(), tiny_mlp((3, 4, 3, 2), seed=1).state_dict()
    names = [group.name for group in spec.groups]
    scores = [
        over_root_of_outputs(a, spec.apply(b, dict(zip(names, map(np.array, pair), strict=True))))
        for pair in itertools.product(itertools.permutations(range(4)), itertools.permutations(range(3)))
    ]
    result = align(a, b, spec, method=WeightMatching(restarts=16))
    assert result.objective == pytest.approx(max(scores), rel=1e-12)


def over_root_of_outputs(a, b) -> float:
    return sum(float((a[key].double() * b[key].double()).sum()) / len(a[key]) ** 0.5 for key in a)


@pytest.mark.parametrize(("scale", "score"), [("outputs", over_root_of_outputs), ("plain", inner)])
def test_the_objective_is_the_inner_product_of_the_aligned_parameters(scale, score):
    result = align(A, B, SPEC, method=WeightMatching(scale=scale))
    assert result.objective == pytest.approx(score(A, result.apply(B)), rel=1e-12)
    assert ("root of its outputs" in result.objective_name) == (scale == "outputs")


def test_running_statistics_are_no_part_of_the_objective():
    """Variances are large and positive: matching them would drown the weights."""
    model = tiny_cnn()
    spec = find_symmetries(model, torch.zeros(2, 1, 8, 8))
    state = model.state_dict()
    other = {key: t + 1000 if "running" in key else t for key, t in state.items()}
    results = [align(state, b, spec) for b in (state, other)]
    assert results[0].objective == results[1].objective


def test_the_trace_rises_and_ends_at_the_objective():
    result = align(A, B, SPEC, method=WeightMatching(restarts=1))
    assert np.all(np.diff(result.trace) >= -1e-9 * abs(result.objective))
    assert result.trace[-1] == result.objective == max(result.restarts)


def test_more_restarts_are_never_worse_and_their_spread_is_told():
    one, many = (align(A, B, SPEC, method=WeightMatching(restarts=n)) for n in (1, 12))
    assert many.objective >= one.objective
    assert len(many.restarts) == 12
    assert "best of 12" in many.message


def test_a_limit_on_sweeps_is_told():
    result = align(A, B, SPEC, method=WeightMatching(restarts=1, sweeps=1, start="same"))
    assert not result.converged
    assert "not converged" in result.message


def test_identical_units_do_not_cycle():
    """Ties: every assignment is worth the same, up to rounding."""
    same = {key: torch.ones_like(tensor) for key, tensor in A.items()}
    assert align(same, same, SPEC).converged


def test_half_precision_weights_are_matched_in_float32():
    half = {key: tensor.half() for key, tensor in A.items()}
    b, answer = planted_pair(half, SPEC, seed=2)
    result = align(half, b, SPEC)
    assert all(np.array_equal(result.permutation[key], perm) for key, perm in answer.items())
    assert all(tensor.dtype == torch.float16 for tensor in result.apply(b).values())


def test_weights_that_are_not_finite_are_refused_by_name():
    broken = {**B, "2.bias": torch.full_like(B["2.bias"], float("nan"))}
    with pytest.raises(MismatchError, match=r"Weights of B are NaN or infinite in 2\.bias"):
        align(A, broken, SPEC)


def test_networks_of_other_widths_or_inputs_are_refused_with_both_sizes():
    with pytest.raises(MismatchError, match=r"'0' has 8 units in A and 9 in B"):
        align(A, tiny_mlp((6, 9, 7, 3)).state_dict(), SPEC)
    with pytest.raises(MismatchError, match=r"shape \(8, 5\), the architecture has \(8, 6\)"):
        align(A, tiny_mlp((5, 8, 7, 3)).state_dict(), SPEC)


def test_a_typo_in_a_method_or_an_option_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'weights'"):
        load_method("wieghts", ALIGNMENTS, "alignment")
    with pytest.raises(UsageError, match="Did you mean 'restarts'"):
        load_method("weights?restart=2", ALIGNMENTS, "alignment")
    with pytest.raises(UsageError, match="restarts must be a positive integer"):
        load_method("weights?restarts=0", ALIGNMENTS, "alignment")


def test_controls_do_what_they_say():
    none, drawn = align(A, B, SPEC, method=Identity()), align(A, B, SPEC, method=RandomPermutation(seed=1))
    assert all(torch.equal(none.apply(B)[key], B[key]) for key in B)
    assert any(not torch.equal(drawn.apply(B)[key], B[key]) for key in B)


def test_sums_do_not_depend_on_the_order_of_a_set():
    """Sets of names have another order in every process; the objective must have the same last bit in all."""
    from lmc.alignment.pair_worths import Problem
    from lmc.symmetry import find_symmetries
    from lmc.testing import tiny_mlp

    net = tiny_mlp()
    problem = Problem(net.state_dict(), net.state_dict(), find_symmetries(net, torch.zeros(2, 6)))
    assert list(problem.a) == sorted(problem.a) and list(problem.b) == sorted(problem.b)
