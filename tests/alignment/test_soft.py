"""Soft permutations: on permutation matrices they are the permutations, and Sinkhorn's operator makes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known import WITH_GROUPS, known

from lmc.alignment.log_sinkhorn import marginal_error, sinkhorn
from lmc.alignment.soft import barycenter, matrices, nearest, soft_apply
from lmc.symmetry import find_symmetries
from lmc.testing import tiny_mlp


def network(name: str):
    _, state, spec = known(name)
    return {key: t.double() if t.is_floating_point() else t for key, t in state.items()}, spec


@pytest.mark.parametrize("name", WITH_GROUPS)
def test_permutation_matrices_do_what_the_permutation_does(name):
    state, spec = network(name)
    drawn = spec.random(3)
    hard, soft = spec.apply(state, drawn), soft_apply(spec, state, matrices(spec, drawn, torch.zeros(1).double()))
    assert list(hard) == list(soft)
    assert all(torch.equal(hard[key], soft[key]) for key in hard)


@pytest.mark.parametrize("name", WITH_GROUPS)
def test_the_mean_of_all_permutations_is_the_mean_of_many(name):
    """An average over draws converges to the barycenter where every tensor has one group in it alone; all stay finite
    and keep their sums where a whole dimension is mixed."""
    state, spec = network(name)
    mixed = soft_apply(spec, state, barycenter(spec, torch.zeros(1).double()))
    assert all(torch.isfinite(tensor).all() for tensor in mixed.values())
    for key, tensor in mixed.items():
        assert tensor.shape == state[key].shape
        assert float(tensor.sum()) == pytest.approx(float(state[key].sum()), abs=1e-9)


def test_a_matrix_that_is_no_permutation_mixes_rows_and_columns():
    model = tiny_mlp((2, 3, 1)).double()
    spec = find_symmetries(model, torch.zeros(1, 2).double())
    matrix = torch.tensor([[[0.5, 0.5, 0], [0.5, 0.2, 0.3], [0, 0.3, 0.7]]], dtype=torch.float64)
    state = model.state_dict()
    mixed = soft_apply(spec, state, {"0": matrix})
    assert torch.allclose(mixed["0.weight"], matrix[0] @ state["0.weight"])
    assert torch.allclose(mixed["2.weight"], state["2.weight"] @ matrix[0].T)
    assert not torch.allclose(mixed["0.bias"], state["0.bias"])


def test_ties_and_integers_are_kept():
    model, _, spec = known("tied embedding")
    mixed = soft_apply(spec, model.state_dict(), barycenter(spec, torch.zeros(1)))
    assert mixed["embed.weight"] is mixed["head.weight"]


def test_gradients_reach_the_matrices_of_every_group():
    state, spec = network("grouped queries")
    soft = {name: matrix.requires_grad_() for name, matrix in barycenter(spec, torch.zeros(1).double()).items()}
    torch.stack([t.square().sum() for t in soft_apply(spec, state, soft).values()]).sum().backward()
    assert all(matrix.grad is not None and matrix.grad.abs().sum() > 0 for matrix in soft.values())


def test_nearest_undoes_matrices():
    _, spec = network("grouped queries")
    drawn = spec.random(1)
    found = nearest(spec, matrices(spec, drawn, torch.zeros(1)))
    assert all(np.array_equal(found[name], perm) for name, perm in drawn.items())


@settings(deadline=None, max_examples=20)  # how many iterations it takes depends on the draw
@given(st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 4.0]))
def test_sinkhorn_gives_doubly_stochastic_matrices(seed, scale):
    logits = scale * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix, _ = sinkhorn(logits, iterations=5000, tolerance=1e-8)
    assert torch.all(matrix >= 0)
    assert marginal_error(matrix) < 1e-6


def test_large_logits_do_not_underflow():
    """Where scalings would: exp(-500) is zero in float32, and a row of zeros has no sum to scale."""
    logits = -500 * (1 - torch.eye(6))[None].float()
    logits[0, 0, 0], logits[0, 0, 1] = -800, -700
    matrix, _ = sinkhorn(logits, iterations=1000)
    assert torch.isfinite(matrix).all()
    assert marginal_error(matrix) < 1e-2


def test_the_gradient_of_sinkhorn_is_that_of_its_iterations():
    generator = torch.Generator().manual_seed(0)
    logits, slope = (torch.randn(1, 6, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    implicit, unrolled = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    (sinkhorn(implicit, iterations=500, tolerance=1e-12)[0] * slope).sum().backward()
    steps = unrolled
    for _ in range(500):
        steps = steps - steps.logsumexp(1, keepdim=True)
        steps = steps - steps.logsumexp(2, keepdim=True)
    (steps.exp() * slope).sum().backward()
    assert torch.allclose(implicit.grad, unrolled.grad, atol=1e-9)
    assert float(unrolled.grad.abs().max()) > 1e-3


def test_a_start_from_the_last_potentials_saves_iterations():
    logits = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact, column = sinkhorn(logits, iterations=1000, tolerance=1e-12)
    warm, cold = (sinkhorn(logits + 1e-3, start, iterations=1)[0] for start in (column, None))
    assert marginal_error(warm) < 1e-6 < marginal_error(cold)
    assert torch.allclose(warm, exact)
