"""Networks that others wrote are recognised by their weights, and compute what theirs compute."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import torchvision_models
from torch import nn

from lmc._errors import ArchitectureError, UsageError
from lmc.architectures import NETWORKS, fit_state, resolve
from lmc.architectures.llama import Llama
from lmc.checkpoints import load


def checkpoint(state):
    return SimpleNamespace(state=dict(state), source="some.pt", metadata={})


def spread(module):
    """Default BatchNorm statistics and zero biases would hide that they are ignored."""
    generator = torch.Generator().manual_seed(1)
    for key, value in module.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            low = -0.1 if key.endswith(("bias", "mean")) else 0.8
            value.uniform_(low, low + 0.4, generator=generator)
    return module.eval()


def assert_computes_the_same(stranger, shape, reference=None):
    """Recognise the weights, load them and compare outputs; return what was found."""
    state = spread(stranger).state_dict()
    found = resolve(reference, checkpoint(state), input_shape=shape)
    found.module.load_state_dict(fit_state(state, found.module, "some.pt"))
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = stranger(x)
        assert expected.std() > 1e-3, "outputs that are all alike would hide a difference"
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.module(x) / scale, expected / scale)
    return found


RESNETS = {
    "resnet18": "resnet18, 64-128-256-512 channels, 7x7 first",
    "resnet34": "resnet34, 64-128-256-512 channels, 7x7 first",
    "resnet50": "resnet50, 256-512-1024-2048 channels, 7x7 first",
    "resnet101": "resnet101, 256-512-1024-2048 channels, 7x7 first",
    "wide_resnet50_2": "resnet50, 256-512-1024-2048 channels, 7x7 first",
    "resnext50_32x4d": "resnet50, 256-512-1024-2048 channels, 32 groups, 7x7 first",
}


@pytest.mark.parametrize("name", RESNETS)
def test_torchvisions_resnets_are_resnets(name):
    found = assert_computes_the_same(torchvision_models.build(name), (3, 64, 64))
    assert found.name == RESNETS[name]


class Kuangliu(nn.Module):
    """Blocks as in kuangliu/pytorch-cifar: an empty Sequential where the shortcut is the identity, avg_pool 4."""

    class Block(nn.Module):
        def __init__(self, inside, width, stride, expansion):
            super().__init__()
            sizes = [(inside, width, 3), (width, width, 3)]
            if expansion > 1:
                sizes = [(inside, width, 1), (width, width, 3), (width, expansion * width, 1)]
            for i, (a, b, kernel) in enumerate(sizes):
                strided = i == (0 if expansion == 1 else 1)
                setattr(
                    self, f"conv{i + 1}", nn.Conv2d(a, b, kernel, stride if strided else 1, kernel // 2, bias=False)
                )
                setattr(self, f"bn{i + 1}", nn.BatchNorm2d(b))
            self.count = len(sizes)
            self.shortcut = nn.Sequential()
            if stride != 1 or inside != expansion * width:
                projection = nn.Conv2d(inside, expansion * width, 1, stride, bias=False)
                self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(expansion * width))

        def forward(self, x):
            out = x
            for i in range(1, self.count + 1):
                out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
                out = F.relu(out) if i < self.count else out
            return F.relu(out + self.shortcut(x))

    def __init__(self, blocks, expansion, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inside = width
        for i, count in enumerate(blocks):
            stage = []
            for j in range(count):
                stage.append(self.Block(inside, width << i, 2 if i and not j else 1, expansion))
                inside = (width << i) * expansion
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        self.linear = nn.Linear(inside, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


@pytest.mark.parametrize(
    ("blocks", "expansion", "name"), [((2, 2, 2, 2), 1, "resnet18"), ((3, 4, 6, 3), 4, "resnet50")]
)
def test_kuangliu_resnets_are_resnets(blocks, expansion, name):
    found = assert_computes_the_same(Kuangliu(blocks, expansion), (3, 32, 32))
    assert found.name.startswith(f"{name}, ") and "3x3 first" in found.name
    assert "shortcut=shortcut&head=linear" in found.reference


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: {k: v for k, v in s.items() if "downsample" not in k},
        lambda s: {**s, "layer1.0.se.weight": torch.zeros(3)},
        lambda s: {**s, "conv1.weight": torch.zeros(8, 3, 5, 5)},
        lambda s: {k.replace("downsample.0", "downsample.1").replace("downsample.1", "downsample.2"): v
                   for k, v in s.items()},
    ],
    ids=["no projection", "squeeze and excitation", "kernel", "pooled shortcut"],
)  # fmt: skip
def test_almost_a_resnet_is_not_one(spoil):
    state = resolve("resnet?blocks=1,1,1&channels=8,16,32").module.state_dict()
    assert resolve(None, checkpoint(state)).name.startswith("resnet8")
    with pytest.raises(ArchitectureError, match="Say which it is"):
        resolve(None, checkpoint(spoil(dict(state))))


VGGS = {
    "vgg11": "vgg11, hidden 4096-4096",
    "vgg16": "vgg16, hidden 4096-4096",
    "vgg13_bn": "vgg13, batch norm, hidden 4096-4096",
    "vgg19_bn": "vgg19, batch norm, hidden 4096-4096",
}


@pytest.mark.parametrize("name", VGGS)
def test_torchvisions_vggs_are_vggs(name):
    assert assert_computes_the_same(torchvision_models.build(name), (3, 64, 64)).name == VGGS[name]


class KuangliuVGG(nn.Module):
    """As in kuangliu/pytorch-cifar: average pooling of 1x1, which does nothing, and one linear layer."""

    def __init__(self, plan):
        super().__init__()
        layers, inside = [], 3
        for width in plan:
            if width == "M":
                layers += [nn.MaxPool2d(2, 2)]
            else:
                layers += [nn.Conv2d(inside, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                inside = width
        self.features = nn.Sequential(*layers, nn.AvgPool2d(1, 1))
        self.classifier = nn.Linear(512, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def test_kuangliu_vgg_is_a_vgg():
    vgg16 = [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]
    assert assert_computes_the_same(KuangliuVGG(vgg16), (3, 32, 32)).name == "vgg14, batch norm"


@pytest.mark.parametrize("size", [None, 32, 64, 224])
@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_0", "mobilenet_v2"])
def test_other_networks_with_features_and_a_classifier_are_not_recognised(name, size):
    """Strides and kernels leave no trace in a width: a size that explains it proves nothing."""
    state = torchvision_models.build(name).state_dict()
    with pytest.raises(ArchitectureError, match="Say which it is"):
        resolve(None, checkpoint(state), input_shape=size and (3, size, size))


@pytest.mark.parametrize(
    ("names", "sizes", "shape"),
    [
        (
            ("conv1", "conv2", "fc1", "fc2", "fc3"),
            ((3, 6, 5), (6, 16, 5), (400, 120), (120, 84), (84, 10)),
            (3, 32, 32),
        ),
        (("conv2d", "conv2d_1", "dense"), ((1, 32, 3), (32, 64, 3), (1600, 10)), (1, 28, 28)),
    ],
    ids=["CIFAR tutorial", "Keras"],
)
def test_plain_networks_keep_the_names_of_their_authors(names, sizes, shape):
    layers = [nn.Conv2d(*size) if len(size) == 3 else nn.Linear(*size) for size in sizes]

    class Stranger(nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in zip(names, layers, strict=True):
                self.add_module(name, layer)

        def forward(self, x):
            x = F.max_pool2d(F.relu(layers[1](F.max_pool2d(F.relu(layers[0](x)), 2))), 2).flatten(1)
            for layer in layers[2:-1]:
                x = F.relu(layer(x))
            return layers[-1](x)

    assert "names=" + ",".join(names) in assert_computes_the_same(Stranger(), shape).reference


HF_NAMES = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


@pytest.mark.shared
def test_llama_computes_what_transformers_does(shared_data):
    """Theirs turns the two halves of a head where Meta's turns neighbours: rows of wq and wk are put in that order."""
    torchvision_models.import_models()  # transformers imports it too, and fails where that does
    from transformers import LlamaConfig, LlamaForCausalLM

    state = load(shared_data / "checkpoints" / "llama-gqa" / "ckpt.pt").state
    options = Llama.from_state(state, None)
    assert options is not None and (options["depth"], options["sharing"], options["tied"]) == (5, 2, True)
    ours = Llama(**options, heads=8).eval()
    ours.load_state_dict(state)
    config = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 5}
    config |= {"num_attention_heads": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}
    theirs = LlamaForCausalLM(LlamaConfig(**config)).eval()
    wanted = {"model.embed_tokens": "tok_embeddings", "model.norm": "norm", "lm_head": "output"}
    wanted |= {f"model.layers.{i}.{a}": f"layers.{i}.{b}" for i in range(5) for a, b in HF_NAMES.items()}
    renamed = {f"{a}.weight": state[f"{b}.weight"].float() for a, b in wanted.items()}
    for key, value in renamed.items():
        if "q_proj" in key or "k_proj" in key:
            renamed[key] = value.view(-1, 4, 2, 64).transpose(1, 2).reshape(-1, 64)
    theirs.load_state_dict(renamed)
    tokens = torch.randint(512, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(tokens).logits
        torch.testing.assert_close(ours(tokens), expected, rtol=1e-4, atol=1e-3)
        four = Llama(**options, heads=4).eval()
        four.load_state_dict(state)
        assert not torch.allclose(four(tokens), expected, atol=1), "heads change what is computed"


def test_llama_cannot_look_ahead_and_reads_its_sizes():
    net = Llama(vocab=11, dim=16, heads=4, sharing=2, hidden=24, depth=3, tied=False).eval()
    options = Llama.from_state(net.state_dict(), (64,))
    assert options is not None and {**net.options, **options} == net.options and "heads" not in options
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 8] = (changed[:, 8] + 1) % 11
    before, after = net(tokens), net(changed)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])
    assert all(network.from_state(net.state_dict(), None) is None for network in NETWORKS.values() if network != Llama)


FRESH = [
    "vgg?plan=4,0,6,8,0&norm=none&size=16&in_channels=1&classes=7",
    "vgg?plan=4,4,0,6,0&hidden=9,5&places=1,4,6&pooled=2&size=8",
    "resnet?blocks=1,2,1&channels=8,16,32&shortcut_kernel=3&stem=conv&bias=true&classes=7",
    "resnet?block=bottleneck&blocks=1,1,2,1&channels=8,16,32,64&inner=4,8,16,32&groups=2&first=6&kernel=7",
    "resnet?blocks=1,1&channels=8,8&first=4&kernel=1&shortcut=shortcut&head=linear&in_channels=1&size=28",
]


@pytest.mark.parametrize("reference", FRESH)
def test_a_fresh_network_is_recognised_as_itself(reference):
    built = resolve(reference)
    shape = built.input_shape
    assert resolve(built.reference).reference == built.reference
    assert assert_computes_the_same(built.module, shape).reference == built.reference


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_is_taken_for_another(name):
    """Whatever the others read from its weights, none of them builds a network of these names and shapes."""
    state = NETWORKS[name]().state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    fitting = []
    for other, network in NETWORKS.items():
        options = network.from_state(state, None)
        try:
            with torch.device("meta"):
                built = network(**options).state_dict() if options is not None else {}
        except (UsageError, ValueError, RuntimeError):
            continue
        if {key: tuple(value.shape) for key, value in built.items()} == shapes:
            fitting.append(other)
    assert fitting == [name]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("resnet?block=botleneck", "Did you mean 'bottleneck'"),
        ("resnet?blocks=2,2", "each stage"),
        ("resnet?groups=3", "must divide"),
        ("resnet?kernel=5", "1, 3 or 7"),
        ("vgg?norm=layer", "batch"),
        ("vgg?size=8", "outlast 5 poolings"),
        ("vgg?hidden=9&places=0,1", "room for the ReLUs"),
    ],
)
def test_a_wrong_option_says_what_is_wrong(reference, words):
    with pytest.raises(UsageError, match=words):
        resolve(reference)
