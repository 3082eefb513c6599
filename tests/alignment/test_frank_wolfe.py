"""Frank-Wolfe: a planted permutation is found on every network; objective, slope and step are what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from known import WITH_GROUPS, known

from lmc.alignment import FrankWolfe, WeightMatching, align
from lmc.alignment.relaxed_inner import RelaxedInner, maximize_polynomial
from lmc.alignment.soft import barycenter, matrices
from lmc.alignment.weight_matching import inner
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair, tiny_mlp


def network(name: str):
    return known(name)[1:]


@pytest.mark.parametrize("name", WITH_GROUPS)
def test_a_planted_permutation_is_recovered_exactly(name):
    state, spec = network(name)
    b, _ = planted_pair(state, spec, seed=5)
    result = align(state, b, spec, method="frank-wolfe?restarts=1")
    recovered = result.apply(b)
    assert result.converged
    assert all(torch.equal(recovered[key], tensor) for key, tensor in state.items())
    assert result.objective == pytest.approx(sum(inner(state, {k: state[k]}) for k in parameters(state, spec)))


def parameters(state, spec):
    return [name for name in state if name not in spec.buffers | set(spec.aliases)]


def test_it_reaches_the_best_of_all_permutations_on_a_tiny_network():
    """Exhaustive search over both groups, scored directly."""
    small = tiny_mlp((3, 4, 3, 2))
    spec = find_symmetries(small, torch.zeros(1, 3))
    names = [group.name for group in spec.groups]
    for seed in range(1, 6):
        a, b = small.state_dict(), tiny_mlp((3, 4, 3, 2), seed=seed).state_dict()
        pairs = itertools.product(itertools.permutations(range(4)), itertools.permutations(range(3)))
        best = max(inner(a, spec.apply(b, dict(zip(names, map(np.array, pair), strict=True)))) for pair in pairs)
        assert align(a, b, spec, method=FrankWolfe(restarts=16)).objective == pytest.approx(best, rel=1e-9)


def test_the_objective_is_that_of_weight_matching():
    a, b = tiny_mlp((6, 8, 7, 3)).state_dict(), tiny_mlp((6, 8, 7, 3), seed=1).state_dict()
    spec = find_symmetries(tiny_mlp((6, 8, 7, 3)), torch.zeros(1, 6))
    result = align(a, b, spec, method=FrankWolfe())
    assert result.objective == pytest.approx(inner(a, result.apply(b)), rel=1e-12)
    assert result.objective >= align(a, b, spec, method=WeightMatching(restarts=1)).objective - 1e-9
    assert np.all(np.diff(result.trace) >= -1e-12 * abs(result.objective))


def test_the_slope_is_the_derivative():
    state, spec = network("attention")
    other = {
        key: tensor + 0.5 * torch.linspace(-1, 1, tensor.numel()).reshape(tensor.shape) for key, tensor in state.items()
    }
    objective = RelaxedInner([state, other], spec)
    here = barycenter(spec, objective.like)
    there = matrices(spec, spec.random(1), objective.like)
    _, (slope,) = objective.slope([here])
    along = sum(float((slope[name] * (there[name] - here[name])).sum()) for name in here)
    step = 1e-6
    moved = [{name: torch.lerp(here[name], there[name], step) for name in here}]
    back = [{name: torch.lerp(here[name], there[name], -step) for name in here}]
    assert along == pytest.approx(float(objective(moved) - objective(back)) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("name", ["attention", "grouped queries", "lstm", "heads first", "mlp"])
def test_the_best_step_is_the_best_of_many(name):
    """A fine grid along the line finds nothing better: the degree is right, whatever shares a tensor."""
    state, spec = network(name)
    b, _ = planted_pair(state, spec, noise=1.0, seed=1)
    objective = RelaxedInner([state, b, state], spec)
    here = [barycenter(spec, objective.like)] * 2
    there = [matrices(spec, spec.random(seed), objective.like) for seed in (1, 2)]
    _, best = objective.best_step(here, there)
    values = [
        float(objective([{n: torch.lerp(s[n], e[n], t) for n in s} for s, e in zip(here, there, strict=True)]))
        for t in np.linspace(0, 1, 41)
    ]
    assert best >= max(values) - 1e-9 * max(map(abs, values))


def test_a_polynomial_has_its_maximum_inside_or_at_an_end():
    assert maximize_polynomial(lambda t: -((t - 0.3) ** 2), 2)[0] == pytest.approx(0.3)
    assert maximize_polynomial(lambda t: 2 * t, 1) == (1.0, 2.0)
    assert maximize_polynomial(lambda t: 1 - t, 4)[0] == 0.0
    assert maximize_polynomial(lambda t: 5.0, 0)[1] == 5.0


def test_few_steps_are_told():
    a, b = tiny_mlp((6, 8, 7, 3)).state_dict(), tiny_mlp((6, 8, 7, 3), seed=1).state_dict()
    spec = find_symmetries(tiny_mlp((6, 8, 7, 3)), torch.zeros(1, 6))
    result = align(a, b, spec, method=FrankWolfe(restarts=1, steps=1))
    assert not result.converged
    assert "not converged after 1 steps" in result.message


def test_noise_of_half_the_weights_spread_leaves_all_units_found():
    state, spec = network("batch norm")
    b, answer = planted_pair(state, spec, noise=0.5, seed=1)
    result = align(state, b, spec, method="frank-wolfe")
    assert all(np.array_equal(result.permutation[name], perm) for name, perm in answer.items())
