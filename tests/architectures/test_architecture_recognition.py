"""What network a set of weights belongs to, when nobody says so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lmc._errors import ArchitectureError
from lmc.architectures import NETWORKS, fit_state, resolve


def checkpoint(state, **lmc):
    return SimpleNamespace(state=dict(state), source="some.pt", metadata={"lmc": lmc} if lmc else {})


def stack(widths, names, bias=True, norm=False):
    """Layers as a stranger would write them, and their state dict under the names given."""
    layers, state = [], {}
    for i, name in enumerate(names):
        layer = nn.Linear(widths[i], widths[i + 1], bias=bias)
        state |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
        layers.append(layer)
        if i < len(names) - 1:
            if norm:
                layers.append(randomised(nn.BatchNorm1d(widths[i + 1])))
                state |= {f"{norm[i]}.{key}": value for key, value in layers[-1].state_dict().items()}
            layers.append(nn.ReLU())
    return nn.Sequential(nn.Flatten(), *layers).eval(), state


def randomised(module):
    """Default BatchNorm statistics would hide that they are ignored."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return module


def loaded(architecture, state):
    architecture.module.load_state_dict(fit_state(state, architecture.module, "some.pt"))
    return architecture.module


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "names", [("fc1", "fc2", "fc3"), ("model.1", "model.3", "model.5"), ("input", "lin1", "output")]
)
def test_a_chain_of_matrices_is_an_mlp_that_computes_the_same(names, bias):
    stranger, state = stack((12, 7, 5, 3), names, bias)
    found = resolve(None, checkpoint(state))
    assert set(found.module.state_dict()) == set(state), "the file's own names are kept"
    assert found.name == "mlp 12-7-5-3" + ("" if bias else ", no biases")
    assert found.assumptions == (f"recognised as {found.name}", "ReLU assumed")
    x = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(loaded(found, state)(x), stranger(x))


def test_batchnorm_between_the_layers_is_recognised_with_its_statistics():
    stranger, state = stack((6, 5, 4, 3), ("net.0", "net.3", "net.6"), norm=("net.1", "net.4"))
    found = resolve(None, checkpoint(state))
    x = torch.randn(8, 6)
    torch.testing.assert_close(loaded(found, state)(x), stranger(x))
    assert "batch norm" in found.name


def test_a_deep_chain_in_alphabetical_order_is_put_right():
    """A safetensors file sorts fc10 before fc2."""
    stranger, state = stack((4, *[6] * 11, 3), [f"fc{i + 1}" for i in range(12)])
    found = resolve(None, checkpoint(dict(sorted(state.items()))))
    x = torch.randn(5, 4)
    torch.testing.assert_close(loaded(found, state)(x), stranger(x))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=6), st.booleans(), st.booleans())
def test_any_widths_survive_the_reference_that_is_written_for_them(widths, bias, norm):
    text = f"mlp?widths={','.join(map(str, widths))}&bias={bias}&norm={'batch' if norm else 'none'}"
    first = resolve(text)
    again = resolve(None, checkpoint(first.module.state_dict()))
    assert again.reference == first.reference
    assert resolve(first.reference).reference == first.reference


def test_two_orders_that_both_fit_are_refused():
    """Square layers named without numbers: alphabetical order and the file's order disagree, and both make sense."""
    _, state = stack((4, 4, 4), ("second", "first"))
    with pytest.raises(ArchitectureError, match="--model"):
        resolve(None, checkpoint(state))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: {**s, "fc2.weight": torch.zeros(10, 49)},
        lambda s: {**s, "scale": torch.zeros(3)},
        lambda s: {**s, "conv1.weight": torch.zeros(10, 1, 4, 4)},
        lambda s: {k: v for k, v in s.items() if k != "conv2.bias"},
        lambda s: {k.replace("conv1", "features"): v for k, v in s.items()},
        lambda s: {**s, "fc1.weight": torch.zeros(50, 20 * 9)},
    ],
    ids=["fc2 does not follow fc1", "extra", "kernel", "no bias", "name", "no common image size"],
)
def test_almost_a_lenet_is_not_one(spoil):
    """Names alone are not enough, and neither are shapes."""
    state = NETWORKS["lenet"]().state_dict()
    assert resolve(None, checkpoint(state)).name.startswith("lenet")
    with pytest.raises(ArchitectureError, match="Say which it is"):
        resolve(None, checkpoint(spoil(dict(state))))


def test_layernorm_between_linear_layers_is_not_an_mlp():
    state = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)).state_dict()
    with pytest.raises(ArchitectureError, match=r"0\.weight \(5, 4\)"):
        resolve(None, checkpoint(state))


SIZED = [
    "mlp?widths=12,9,4&bias=false",
    "mlp?widths=12,9,5,4&bias=false,false,true&norm=batch",
    "lenet?channels=3,4&hidden=7&classes=3",
    "lenet?channels=3,4&hidden=7&kernel=3&padding=1&size=8",
    "cnn-bn?channels=3,4,5&kernel=3&size=32&in_channels=3",
    "resnet20?width=0.25&classes=7",
    "resnet20?width=0.5&blocks=1&in_channels=1&size=28",
    "rnn?hidden=6&layers=2",
    "lstm?hidden=6&layers=2&bidirectional=true&features=8&steps=8",
    "vit?dim=8&hidden=12&depth=3&patch=2&size=8",
    "gpt?vocab=11&block=6&dim=8&depth=3&tied=false&bias=false",
]


@pytest.mark.parametrize("reference", SIZED)
def test_a_name_alone_takes_every_size_from_the_weights(reference):
    built = resolve(reference)
    again = resolve(reference.partition("?")[0], checkpoint(built.module.state_dict()), input_shape=built.input_shape)
    assert again.reference == built.reference
    inputs = built.example_inputs(3, seed=1)
    torch.testing.assert_close(loaded(again, built.module.state_dict())(*inputs), built.module(*inputs))


@pytest.mark.parametrize("reference", [r for r in SIZED if not r.startswith(("vit", "gpt"))])
def test_registered_shapes_are_recognised_without_a_name(reference):
    built = resolve(reference)
    found = resolve(None, checkpoint(built.module.state_dict()), input_shape=built.input_shape)
    assert found.reference == built.reference
    assert found.assumptions[0] == f"recognised as {found.name}"


@pytest.mark.parametrize("network", ["vit", "gpt"])
def test_the_number_of_heads_is_said_to_be_a_guess(network):
    state = resolve(f"{network}?heads=2").module.state_dict()
    assert any("heads assumed" in said for said in resolve(network, checkpoint(state)).assumptions)
    assert not resolve(f"{network}?heads=2", checkpoint(state)).assumptions


@pytest.mark.parametrize("network", ["vit", "gpt"])
def test_a_transformer_is_not_recognised_on_a_guess(network):
    state = resolve(network).module.state_dict()
    with pytest.raises(ArchitectureError, match=rf"--model '{network}\?heads=4'"):
        resolve(None, checkpoint(state))


@pytest.mark.parametrize("shape", ["1,4,4", [1, "4"], [1, -4, 4], {}])
def test_a_nonsensical_shape_in_a_file_is_not_believed(shape):
    state = resolve("mlp?widths=16,8,3").module.state_dict()
    assert resolve(None, checkpoint(state, model="mlp", input_shape=shape)).input_shape == (16,)


def test_a_checkpoint_says_what_it_is():
    state = resolve("mlp?widths=16,8,3&activation=tanh").module.state_dict()
    found = resolve(None, checkpoint(state, model="mlp?widths=16,8,3&activation=tanh", input_shape=[1, 4, 4]))
    assert "activation=tanh" in found.reference
    assert found.input_shape == (1, 4, 4)
    assert "metadata" in found.assumptions[0]


def test_code_named_inside_a_checkpoint_is_never_run(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef net(): ...\n")
    reference = f"{tmp_path / 'evil.py'}:net"
    with pytest.raises(ArchitectureError, match="never run"):
        resolve(None, checkpoint({}, model=reference))
    assert not marker.exists()
    with pytest.raises(ArchitectureError, match="not a torch"):
        resolve(reference)
    assert marker.exists(), "the trap itself works: asked for by the user, it does run"


@pytest.mark.parametrize("prefix", ["net.", "model.backbone."])
def test_a_network_inside_a_wrapper_is_recognised(prefix):
    plain = resolve("resnet20")
    state = {prefix + name: tensor for name, tensor in plain.module.state_dict().items()}
    found = resolve(None, checkpoint(state))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(found, state)(x), plain.module(x))
