"""What the registered networks compute, and how they are built."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmc._errors import ArchitectureError, UsageError
from lmc.architectures import NETWORKS, fit_state, resolve

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].input_kind != "tokens"])
def test_every_network_suits_every_image_set(name, shape):
    built = resolve(name, input_shape=shape, num_classes=7)
    assert built.module(*built.example_inputs(2)).shape == (2, 7)
    assert not built.module.training


def test_gpt_suits_a_text_and_cannot_look_ahead():
    built = resolve("gpt", input_shape=(12,), num_classes=9)
    tokens = built.example_inputs(2)[0]
    assert tokens.dtype == torch.int64 and tokens.shape == (2, 12)
    changed = tokens.clone()
    changed[:, 8] = (changed[:, 8] + 1) % 9
    before, after = built.module(tokens), built.module(changed)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


def test_gpt_ties_its_head_unless_told_otherwise():
    tied, free = NETWORKS["gpt"](), NETWORKS["gpt"](tied=False)
    assert tied.lm_head.weight is tied.transformer["wte"].weight
    assert free.lm_head.weight is not free.transformer["wte"].weight


def test_lenet_forward_is_the_published_one():
    net = resolve("lenet").module
    x = torch.randn(3, 1, 28, 28)
    y = F.max_pool2d(F.relu(net.conv1(x)), 2)  # ReLU before or after pooling: people write both
    y = F.relu(F.max_pool2d(net.conv2(y), 2)).flatten(1)
    torch.testing.assert_close(net(x), net.fc2(F.relu(net.fc1(y))))


def test_resnet20_shortcuts_subsample_and_pad_both_sides():
    """With its convolutions silent a block must pass ReLU of the shortcut alone."""
    block = resolve("resnet20?width=0.25").module.layer2[0]
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 4, 6, 6)
    out = block(x)
    assert out.shape == (2, 8, 3, 3)
    torch.testing.assert_close(out[:, 2:6], F.relu(x[:, :, ::2, ::2]))
    assert not out[:, :2].any() and not out[:, 6:].any()


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_rows_are_read_from_top_to_bottom(name):
    built = resolve(f"{name}?hidden=5&features=8&steps=8")
    cell = getattr(built.module, name)
    x = built.example_inputs(3)[0]
    expected = built.module.fc(cell(x[:, 0])[0][:, -1])
    torch.testing.assert_close(built.module(x), expected)
    torch.testing.assert_close(built.module(x[:, 0]), expected)
    assert not torch.allclose(built.module(x.flip(2)), expected)


def test_vit_attends_across_patches():
    built = resolve("vit?size=8&patch=4&dim=8&heads=2&hidden=8")
    net = built.module
    x = built.example_inputs(1)[0]
    tokens = net.embed(x).flatten(2).transpose(1, 2) + net.position
    moved = tokens.clone()
    moved[:, 0, 0] += 1  # one entry: LayerNorm would take a shift of all away
    assert not torch.allclose(net.blocks(tokens)[:, 1:], net.blocks(moved)[:, 1:], atol=1e-4)


def test_building_is_seeded_and_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    one, same, other = (resolve("mlp", seed=seed).module.fc1.weight for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_example_inputs_are_seeded_and_sized():
    built = resolve("cnn-bn")
    assert torch.equal(built.example_inputs(3, seed=1)[0], built.example_inputs(3, seed=1)[0])
    assert not torch.equal(built.example_inputs(3, seed=1)[0], built.example_inputs(3, seed=2)[0])
    assert built.example_inputs(3)[0].shape == (3, 1, 28, 28)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("lenett", r"Did you mean 'lenet'\?"),
        ("mlp?widht=3", r"Did you mean 'width'\?"),
        ("mlp?activation=rellu", r"Did you mean 'relu'\?"),
        ("mlp?norm=layer", "batch"),
        ("mlp?widths=5", "inputs and outputs"),
        ("mlp?widths=5,0,3", "positive"),
        ("mlp?widths=5,4,3&names=a", "2 layers are needed"),
        ("vit?heads=7", "must divide"),
        ("resnet20?width=0.01", "even number"),
        ("lenet?size=9", "do not fit"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(reference, words):
    with pytest.raises(UsageError, match=words):
        resolve(reference)


def test_options_of_the_user_win_over_the_weights():
    state = resolve("mlp?widths=6,5,4").module.state_dict()
    file = SimpleNamespace(state=state, source="f", metadata={})
    assert "activation=tanh" in resolve("mlp?activation=tanh", file).reference
    assert resolve("mlp?width=9", file).name == "mlp 6-9-4"


@pytest.mark.parametrize("name", ["mlp", "lenet", "cnn-bn", "lstm"])
def test_data_of_another_size_is_refused_before_anything_is_computed(name):
    file = SimpleNamespace(state=resolve(name).module.state_dict(), source="f", metadata={})
    with pytest.raises(ArchitectureError, match=r"\(1, 8, 8\)"):
        resolve(name, file, input_shape=(1, 8, 8))


def test_too_few_outputs_for_the_labels_are_refused():
    file = SimpleNamespace(state=resolve("lenet?classes=3").module.state_dict(), source="f", metadata={})
    with pytest.raises(ArchitectureError, match="3 outputs; the data has 10 classes"):
        resolve(None, file, num_classes=10)
    assert resolve(None, file, num_classes=3)


def test_fit_state_takes_what_resolve_recognised():
    state = resolve("resnet20?width=0.25").module.state_dict()
    file = SimpleNamespace(state={k: v for k, v in state.items() if "tracked" not in k}, source="f", metadata={})
    found = resolve(None, file)
    assert list(fit_state(file.state, found.module, "f")) == list(state)
