"""OTFusion and Gromov-Wasserstein: against slow computations, hidden permutations, and what soft plans do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from alignment.planted import planted, same
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from lmc._errors import UsageError
from lmc.alignment import align
from lmc.alignment.coupling import Coupling, along, apply_soft
from lmc.symmetry import find_symmetries
from lmc.symmetry.sites import Sighting
from lmc.testing import tiny_cnn, tiny_mlp

MODEL, OTHER = tiny_mlp((6, 8, 7, 3), bias=False), tiny_mlp((6, 8, 7, 3), bias=False, seed=1)
SPEC = find_symmetries(MODEL, torch.zeros(2, 6))
A, B = MODEL.state_dict(), OTHER.state_dict()

FOUND = ["mlp", "flatten", "batch norm", "grouped", "concatenation", "option A", "tied embedding", "lstm"]
FOUND += ["gru, bidirectional", "attention", "fused attention", "grouped queries"]


@pytest.mark.parametrize("name", FOUND)
def test_a_hidden_permutation_is_found(name):
    _, spec, a, b, examples = planted(name)
    for method in ("ot", "ot?on=activations", "gw?starts=2"):
        assert same(a, align(a, b, spec, method=method, **examples).apply(b)), method


@pytest.mark.parametrize("cost", ["euclidean", "sqeuclidean", "cosine"])
def test_exact_uniform_plans_are_the_assignment_of_every_layer_in_turn(cost):
    """The slow computation: rows by scipy's distances, each layer's columns put in the order found before."""
    order = np.arange(6)
    expected = {}
    for layer in ("0", "2"):
        rows = A[f"{layer}.weight"].double().numpy(), B[f"{layer}.weight"].double().numpy()[:, order]
        order = linear_sum_assignment(cdist(*rows, metric=cost))[1]
        expected[layer] = order
    result = align(A, B, SPEC, method=f"ot?cost={cost}&soft=true")
    assert all(np.array_equal(result.permutation[name], expected[name]) for name in expected)
    assert all(coupling.hardness == pytest.approx(1) for coupling in result.couplings.values())
    assert result.rounding_loss == pytest.approx(0, abs=1e-12)
    assert same(result.apply(B), result.apply_soft(B), 1e-6)


def test_activations_are_compared_before_the_nonlinearity():
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    result = align(A, B, SPEC, method="ot?on=activations", data=(x, torch.zeros(40).long()), module=MODEL)
    shown = [net[0](x).detach().double().numpy().T for net in (MODEL, OTHER)]
    assert np.array_equal(result.permutation["0"], linear_sum_assignment(cdist(*shown))[1])


@pytest.mark.parametrize(
    "method", ["ot?solver=sinkhorn", "ot?solver=unbalanced", "ot?marginals=l2", "gw?kind=entropic"]
)
def test_what_rounding_costs_is_told_and_soft_plans_change_the_function(method):
    result = align(A, B, SPEC, method=f"{method}&soft=true")
    x = torch.linspace(-1, 1, 12).reshape(2, 6)

    def run(state):
        return torch.func.functional_call(OTHER, state, (x,))

    assert torch.allclose(run(result.apply(B)), run(B), atol=1e-6)
    assert not torch.allclose(run(result.apply_soft(B)), run(B), atol=1e-4)
    assert np.isfinite(result.objective) and np.isfinite(result.rounding_loss)
    for coupling in result.couplings.values():
        assert np.allclose(coupling.makes().sum(2), 1) and np.allclose(coupling.reads().sum(1), 1)


def test_a_soft_average_of_two_permutations_by_hand():
    group = SPEC["0"]
    one, two = np.eye(8)[SPEC.random(1)["0"]], np.eye(8)[SPEC.random(2)["0"]]
    coupling = Coupling((0.25 * one + 0.75 * two)[None] / 8)
    moved = apply_soft(SPEC, B, {"0": coupling}, SPEC.identity(), Sighting(SPEC).roles())
    mixed = torch.from_numpy(0.25 * one + 0.75 * two).float()
    assert torch.allclose(moved["0.weight"], mixed @ B["0.weight"], atol=1e-6)
    assert torch.allclose(moved["2.weight"], B["2.weight"] @ mixed.T, atol=1e-6)
    assert torch.equal(moved["4.weight"], B["4.weight"])
    assert group.size == 8 and torch.equal(B["0.weight"], OTHER.state_dict()["0.weight"])


@pytest.mark.parametrize("name", ["flatten", "grouped", "option A", "lstm", "heads first", "concatenation"])
def test_mixing_by_a_permutation_matrix_is_the_permutation(name):
    _, spec, a, _, _ = planted(name)
    drawn = spec.random(5)
    for group in spec.groups:
        matrices = np.eye(group.size)[drawn[group.name].reshape(group.blocks, group.size)]
        for axis in group.axes:
            tensor = a[axis.param]
            if tensor.is_floating_point():
                assert torch.allclose(along(axis, tensor, matrices), axis.move(tensor, drawn[group.name]), atol=1e-6)


def test_a_plan_that_leaves_units_out_gives_no_nan():
    plan = np.zeros((1, 3, 3))
    plan[0, 0, 1] = 1.0
    coupling = Coupling(plan)
    for maps in (coupling.makes(), coupling.reads()):
        assert np.isfinite(maps).all()
    assert np.allclose(coupling.makes().sum(2), 1)


def gromov(one: np.ndarray, two: np.ndarray, perm: tuple[int, ...]) -> float:
    """Return the distortion of a pairing, entry by entry."""
    size = len(one)
    pairs = itertools.product(range(size), repeat=2)
    return sum((one[i, k] - two[perm[i], perm[k]]) ** 2 for i, k in pairs) / size**2


def test_the_objective_of_gromov_wasserstein_is_that_of_its_pairing_entry_by_entry():
    model, other = tiny_mlp((6, 5, 3), bias=False), tiny_mlp((6, 5, 3), bias=False, seed=1)
    spec = find_symmetries(model, torch.zeros(2, 6))
    result = align(model.state_dict(), other.state_dict(), spec, method="gw?kind=pure&starts=12")
    distances = []
    for state in (model.state_dict(), other.state_dict()):
        units = torch.cat([state["0.weight"], state["2.weight"].T], dim=1).double().numpy()
        distances.append(cdist(units, units))
    scale = (distances[0].mean() + distances[1].mean()) / 2
    one, two = (d / scale for d in distances)
    best = min(gromov(one, two, perm) for perm in itertools.permutations(range(5)))
    found = tuple(result.permutation["0"])
    assert -result.objective == pytest.approx(gromov(one, two, found), abs=1e-9)
    assert best - 1e-9 <= -result.objective < gromov(one, two, tuple(range(5)))
    assert len(result.restarts) == 12 and max(result.restarts) == pytest.approx(result.objective)


@pytest.mark.parametrize("kind", ["fused", "pure", "entropic", "semirelaxed", "partial"])
def test_every_kind_keeps_the_function_and_tells_how_it_ended(kind):
    result = align(A, B, SPEC, method=f"gw?kind={kind}&starts=2")
    assert np.isfinite(result.objective) and result.message and not result.soft
    x = torch.linspace(-1, 1, 12).reshape(2, 6)
    moved = torch.func.functional_call(OTHER, result.apply(B), (x,))
    assert torch.allclose(moved, OTHER(x), atol=1e-6)


def test_features_find_what_geometry_alone_does_not_under_noise():
    model = tiny_mlp((20, 24, 5))
    spec = find_symmetries(model, torch.zeros(2, 20))
    a = model.state_dict()
    hidden = spec.random(4)
    noisy = {
        key: t + 0.3 * t.std() * torch.randn(t.shape, generator=torch.Generator().manual_seed(1))
        for key, t in a.items()
    }
    b = spec.apply(noisy, hidden)
    right = {}
    for kind in ("fused", "pure"):
        back = spec.compose(hidden, align(a, b, spec, method=f"gw?kind={kind}").permutation)["0"]
        right[kind] = float((back == np.arange(24)).mean())
    assert right["fused"] == 1.0 > right["pure"]


def test_convolutions_with_batchnorm_move_softly_in_all_their_tensors():
    model, other = tiny_cnn((1, 4, 6)), tiny_cnn((1, 4, 6), seed=1)
    spec = find_symmetries(model, torch.zeros(2, 1, 8, 8))
    result = align(model.state_dict(), other.state_dict(), spec, method="ot?solver=sinkhorn&soft=true")
    moved = result.apply_soft(other.state_dict())
    before = other.state_dict()
    changed = [key for key in moved if not torch.equal(moved[key], before[key])]
    assert {"0.weight", "1.running_var", "4.weight", "9.weight"} <= set(changed)
    assert all(moved[key].shape == before[key].shape and moved[key].dtype == before[key].dtype for key in moved)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in moved.values())


def test_wrong_options_are_refused_with_the_nearest():
    for method, hint in (("ot?cost=euclidian", "euclidean"), ("ot?solver=emf", "emd"), ("gw?kind=fuzed", "fused")):
        with pytest.raises(UsageError, match=f"Did you mean '{hint}'"):
            align(A, B, SPEC, method=method)
    for method in ("ot?reg=0", "ot?slack=-1", "gw?alpha=1.5", "gw?mass=0", "gw?starts=0", "ot?seed=-1"):
        with pytest.raises(UsageError):
            align(A, B, SPEC, method=method)
    with pytest.raises(UsageError, match="found a permutation, no soft plan"):
        align(A, B, SPEC, method="ot").apply_soft(B)
