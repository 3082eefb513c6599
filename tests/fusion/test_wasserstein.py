"""Wasserstein barycenters: the published midpoint, hidden permutations, other widths, and an objective that falls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from alignment.planted import planted, same

from lmc import align, find_symmetries, fuse, open_data, pipeline
from lmc._errors import UsageError
from lmc.evaluation import evaluate_state
from lmc.fusion.couple import Couple
from lmc.fusion.free_support import barycenter
from lmc.fusion.layers import Rows
from lmc.testing import tiny_mlp

FOUND = ["mlp", "flatten", "batch norm", "concatenation", "option A", "fused attention"]


@pytest.mark.parametrize("name", FOUND)
def test_a_network_fused_with_itself_in_another_order_is_itself(name: str):
    _, spec, a, b, examples = planted(name)
    given = {"data": examples["data"], "modules": examples["module"]}
    for method in ("wb", "wb?on=activations"):
        result = fuse([a, b], spec, method=method, mix=(0.3, 0.7), **given)
        kept = {key: tensor for key, tensor in a.items() if "running" not in key and "num_batches" not in key}
        assert same(kept, result.state, 1e-5)  # statistics are those of the examples
        assert same(a, spec.apply(b, result.permutation(1)))
        assert result.objective == pytest.approx(0, abs=1e-5)


def test_two_networks_of_one_width_are_fused_as_by_transport_of_squared_costs():
    a, b = (tiny_mlp((6, 8, 7, 3), seed=seed) for seed in (0, 1))
    spec = find_symmetries(a, torch.zeros(1, 6))
    states = a.state_dict(), b.state_dict()
    moved = align(*states, spec, method="ot?cost=sqeuclidean").apply(states[1])
    result = fuse(states, spec, method="wb?sides=incoming")
    for name, tensor in result.state.items():
        torch.testing.assert_close(tensor, (states[0][name] + moved[name]) / 2)
    assert all(
        np.array_equal(coupling.plan[0] * len(coupling.plan[0]), np.eye(len(coupling.plan[0])))
        for coupling in result.couplings[0].values()
    )


@pytest.mark.shared
def test_the_pair_of_otfusion_gives_what_its_authors_publish(shared_data):
    names = (str(shared_data / f"checkpoints/otfusion-mnist-mlp/{end}.checkpoint") for end in "01")
    pair = pipeline.load_pair(*names, input_shape=(1, 28, 28), num_classes=10)
    module = pair.a.architecture.module
    spec = find_symmetries(module, pair.a.architecture.example_inputs(seed=0)[0])
    fused = fuse([pair.a.state, pair.b.state], spec, method="wb?sides=incoming").state
    moved = align(pair.a.state, pair.b.state, spec, method="ot?cost=sqeuclidean").apply(pair.b.state)
    assert max(float((fused[k] - (pair.a.state[k] + moved[k]) / 2).abs().max()) for k in fused) < 1e-5
    accuracy = evaluate_state(module, fused, open_data("mnist", "test", shared_data)).accuracy
    assert accuracy is not None and 100 * accuracy[0] == pytest.approx(95.32, abs=0.02)
    given: dict[str, Any] = {"data": open_data("mnist", "train", shared_data), "modules": module}
    for method in ("wb", "wb?on=activations"):
        better = fuse([pair.a.state, pair.b.state], spec, method=method, **given).state
        accuracy = evaluate_state(module, better, open_data("mnist", "test", shared_data)).accuracy
        assert accuracy is not None and accuracy[0] >= 0.958


def test_activations_are_compared_as_they_are():
    """The slow computation: activations as rows, without products; networks of two widths."""
    networks = [tiny_mlp(widths, seed=number) for number, widths in enumerate([(6, 8, 7, 3), (6, 5, 9, 3)])]
    specs = [find_symmetries(network, torch.zeros(1, 6)) for network in networks]
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    states = [network.state_dict() for network in networks]
    result = fuse(
        states, specs, method="wb?on=activations&examples=40", data=(x, torch.zeros(40).long()), modules=networks
    )
    shown = [Rows.plain(network.get_submodule("0")(x).detach().double().T / 40**0.5) for network in networks]
    expected = barycenter(shown, (0.5, 0.5), shown[0].values, Couple())
    assert result.traces["0"] == pytest.approx(expected.trace)
    for found, plan in zip(result.couplings, expected.plans, strict=True):
        np.testing.assert_allclose(found["0"].plan, plan, atol=1e-9)


def test_settings_that_make_no_sense_are_refused():
    spec = find_symmetries(tiny_mlp(), torch.zeros(1, 6))
    states = [tiny_mlp(seed=seed).state_dict() for seed in (0, 1)]
    with pytest.raises(UsageError, match="Did you mean 'sinkhorn'"):
        fuse(states, spec, method="wb?solver=sinkhron")
    with pytest.raises(UsageError, match="start=3 is none of 2 networks"):
        fuse(states, spec, method="wb?start=3")
    with pytest.raises(UsageError, match="starts must be a whole number from 1 up"):
        fuse(states, spec, method="wb?starts=0")
