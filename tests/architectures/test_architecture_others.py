"""Checkpoints of other people that no registry knows: built from a module, they reach what was measured for them."""

from __future__ import annotations

import pytest
import torch
from modular_addition import ModularAddition, all_pairs
from others import ActorCritic, SmallGPT, bends

from lmc._errors import ArchitectureError
from lmc.alignment import RandomPermutation, WeightMatching, align
from lmc.architectures import fit_state, resolve
from lmc.checkpoints import load
from lmc.datasets import open_data
from lmc.pipeline import load_pair, prove

pytestmark = pytest.mark.shared

RAW = "mnist?normalize=none"


def fitted(module, checkpoint):
    """Return the module with the weights, which its own strict loader took."""
    state = fit_state(checkpoint.state, module, checkpoint.source)
    module.load_state_dict(state, strict=True)
    return module.eval(), state


def percent(module, data):
    """Return the accuracy on a dataset."""
    hits = 0
    with torch.inference_mode():
        for inputs, targets in data.batches(1000):
            x = inputs if data.normalization is None else data.normalization(inputs)
            hits += int((module(x).argmax(1) == targets).sum())
    return 100 * hits / data.size


@pytest.mark.parametrize(("file", "wrapper", "wanted"), [("a.pt", None, 100.0), ("b.pth", "model", 99.95)])
def test_modular_addition(shared_data, file, wrapper, wanted):
    checkpoint = load(shared_data / "checkpoints/modular-addition-transformer" / file)
    module, _ = fitted(ModularAddition(), checkpoint)
    tokens, sums = all_pairs()
    with torch.inference_mode():
        found = (module(tokens)[:, :113].argmax(1) == sums).double().mean()
    assert checkpoint.metadata["unwrapped"] == wrapper
    assert 100 * float(found) == pytest.approx(wanted, abs=0.1)


def outputs_of(module, state, *inputs):
    """Return what a module computes with other weights, which its strict loader takes."""
    module.load_state_dict(state, strict=True)
    with torch.inference_mode():
        return module(*inputs)


def assert_planted_is_undone(module, state, inputs, dtype=torch.float64):
    """Permute at random, align back: the aligned weights compute the same, and lie at least as near."""
    module = module.to(dtype)
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    spec = prove(module, inputs).spec
    planted = align(state, state, spec, method=RandomPermutation(seed=3)).apply(state)
    back = align(state, planted, spec, method=WeightMatching(restarts=2, seed=0))
    aligned = back.apply(planted)
    outputs = [outputs_of(module, weights, *inputs) for weights in (state, planted, aligned)]
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0], rtol=1e-8, atol=1e-8)
    distances = [sum(float((w[k] - state[k]).double().norm() ** 2) for k in state) for w in (planted, aligned)]
    assert distances[1] < 0.5 * distances[0]


def test_a_gpt_with_tied_embeddings(shared_data):
    checkpoint = load(shared_data / "checkpoints/gpt-tied/ckpt.pt")
    module, state = fitted(SmallGPT(), checkpoint)
    assert checkpoint.metadata["ties"] == [["transformer.wte.weight", "lm_head.weight"]]
    tokens = torch.randint(4096, (2, 16), generator=torch.Generator().manual_seed(0))
    assert_planted_is_undone(module, state, (tokens,))


def test_a_llama_with_grouped_queries(shared_data):
    checkpoint = load(shared_data / "checkpoints/llama-gqa/ckpt.pt")
    found = resolve("llama?heads=8", checkpoint)
    module, state = fitted(found.module, checkpoint)
    tokens = torch.randint(512, (2, 16), generator=torch.Generator().manual_seed(0))
    assert_planted_is_undone(module, state, (tokens,))


def test_policies_are_aligned_and_act_as_before(shared_data):
    folder = shared_data / "checkpoints/sb3-cartpole"
    pair = load_pair(folder / "a2c.zip", folder / "ppo.zip", model="others:ActorCritic", input_shape=(4,))
    module = ActorCritic()
    spec = prove(module, (torch.zeros(2, 4),)).spec
    assert spec.units == 4 * 64
    result = align(pair.a.state, pair.b.state, spec, method=WeightMatching(seed=0))
    states = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    before, after = (outputs_of(module, weights, states) for weights in (pair.b.state, result.apply(pair.b.state)))
    assert torch.equal(before[:, :2].argmax(1), after[:, :2].argmax(1))
    torch.testing.assert_close(after, before)
    assert result.objective > sum(float((pair.a.state[k] * pair.b.state[k]).sum()) for k in pair.a.state)


def test_a_curve_of_low_loss_is_read_bend_by_bend(shared_data):
    """Garipov et al. 2018: the straight line between two ends has a barrier that the trained chain goes round."""
    folder = shared_data / "checkpoints/curve-cnn"
    ends = [load(folder / f"endpoint{i}-epoch200.pt") for i in (1, 2)]
    found = resolve(None, ends[0], input_shape=(1, 28, 28), num_classes=10).module
    chain = bends(load(folder / "polychain-6bends-epoch200.pt").state)
    assert len(chain) == 6
    states = [fit_state(end.state, found, end.source) for end in ends]
    names = dict(zip(states[0], chain[0], strict=True))
    points = [{name: bend[other] for name, other in names.items()} for bend in chain]
    for end, point in ((states[0], points[0]), (states[1], points[-1])):
        assert all(torch.equal(end[name], point[name]) for name in end)
    data = open_data(RAW, data_dir=shared_data)

    def at(a, b):
        found.load_state_dict({name: (a[name] + b[name]) / 2 for name in a})
        return percent(found, data)

    assert at(*states) == pytest.approx(77.11, abs=0.1)
    assert at(points[2], points[3]) >= 98.87 - 0.1
    assert at(points[1], points[1]) >= 98.87 - 0.1


@pytest.mark.parametrize(
    ("file", "data", "wanted"),
    [
        ("lenet-10-20/c.pth", "mnist", 96.82),
        ("lenet-10-20/d.pth", "mnist", 96.43),
        ("lenet-10-20/e.pth", "mnist", 98.02),
        ("lenet-10-20/a-earlier.pth", "mnist", 97.70),
        ("odd/numpy-scalar-inside.pth", "mnist", 98.77),
        ("safetensors-mlp/untrained.safetensors", RAW, 10.19),
    ],
)
def test_further_recognised_networks(shared_data, file, data, wanted):
    opened = open_data(data, data_dir=shared_data)
    checkpoint = load(shared_data / "checkpoints" / file)
    module, _ = fitted(resolve(None, checkpoint, input_shape=opened.input_shape, num_classes=10).module, checkpoint)
    assert percent(module, opened) == pytest.approx(wanted, abs=0.1)


def test_a_head_of_three_classes_is_refused_for_ten(shared_data):
    checkpoint = load(shared_data / "checkpoints/lenet-10-20/b-three-classes.pth")
    with pytest.raises(ArchitectureError, match="3 outputs; the data has 10 classes"):
        resolve(None, checkpoint, input_shape=(1, 28, 28), num_classes=10)
