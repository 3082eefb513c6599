"""Pivot transport of several networks, and the permutation that a barycenter implies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from alignment.planted import planted, same

from lmc import align, find_symmetries, fuse
from lmc._errors import UsageError
from lmc._methods import FUSIONS, load_method
from lmc.fusion import AbstractFusion, GromovWassersteinBarycenter, OTFusion, WassersteinBarycenter
from lmc.testing import tiny_mlp

STATES = [tiny_mlp((6, 8, 7, 3), seed=seed).state_dict() for seed in range(3)]
SPEC = find_symmetries(tiny_mlp((6, 8, 7, 3)), torch.zeros(1, 6))


def test_three_networks_are_each_transported_to_the_pivot():
    result = fuse(STATES, SPEC, method="ot?pivot=2", mix=(1, 2, 1))
    moved = [align(STATES[1], state, SPEC, method="ot").apply(state) for state in STATES]
    for name, tensor in result.state.items():
        torch.testing.assert_close(tensor, 0.25 * moved[0][name] + 0.5 * STATES[1][name] + 0.25 * moved[2][name])
    assert np.array_equal(result.permutation(1)["0"], np.arange(8))
    assert result.rounding_loss == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="pivot=4 is none of 3"):
        fuse(STATES, SPEC, method="ot?pivot=4")


def test_soft_plans_are_averaged_along():
    result = fuse(STATES[:2], SPEC, method="ot?solver=sinkhorn&reg=1")
    aligned = align(*STATES[:2], SPEC, method="ot?solver=sinkhorn&reg=1&soft=true")
    moved = aligned.apply_soft(STATES[1])
    for name, tensor in result.state.items():
        torch.testing.assert_close(tensor, (STATES[0][name] + moved[name]) / 2)
    assert result.rounding_loss == pytest.approx(aligned.rounding_loss / 2)


def test_a_barycenter_aligns_as_transport_of_squared_costs_does():
    for method in ("wb?sides=incoming", "wb?sides=incoming&start=2"):
        found = align(*STATES[:2], SPEC, method=method)
        expected = align(*STATES[:2], SPEC, method="ot?cost=sqeuclidean")
        assert all(np.array_equal(found.permutation[name], one) for name, one in expected.permutation.items())
        assert found.rounding_loss == pytest.approx(0, abs=1e-9)


def test_what_rounding_soft_couplings_costs_is_reported():
    found = align(*STATES[:2], SPEC, method="wb?solver=sinkhorn&reg=0.5")
    assert abs(found.rounding_loss) > 1e-5
    x = torch.randn(5, 6)
    moved = torch.func.functional_call(tiny_mlp((6, 8, 7, 3)), found.apply(STATES[1]), (x,))
    torch.testing.assert_close(moved, torch.func.functional_call(tiny_mlp((6, 8, 7, 3)), STATES[1], (x,)))


@pytest.mark.parametrize("name", ["flatten", "option A", "fused attention"])
def test_a_hidden_permutation_is_found_by_barycenters_and_by_transport(name: str):
    _, spec, a, b, _ = planted(name)
    assert same(a, align(a, b, spec, method="wb").apply(b))
    assert same(a, fuse([a, b], spec, method="ot").state, 1e-5)


@pytest.mark.parametrize(
    "method",
    [
        WassersteinBarycenter(
            iterations=5, sides="incoming", start=2, starts=3, sweeps=4, normalize="mean-field", seed=6
        ),
        WassersteinBarycenter("activations", "sinkhorn", reg=0.5, start="random", examples=None, place="post"),
        GromovWassersteinBarycenter(0.3, "activations", "incoming", None, 2, "mean-field", 4),
        OTFusion("activations", "cosine", "unbalanced", "l2", slack=2.0, examples=None, place="post", pivot=2, seed=3),
        OTFusion(solver="sinkhorn", reg=0.5, normalize="mean-field"),
    ],
    ids=lambda method: method.reference,
)
def test_what_a_result_says_of_its_method_asks_for_the_same_method_again(method: AbstractFusion):
    assert load_method(method.reference, FUSIONS, "fusion") == method
