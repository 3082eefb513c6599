"""The fast engine gives the numbers of a plain loop whatever the network does, and is fast where it can be."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lmc.architectures import resolve
from lmc.datasets import as_data
from lmc.evaluation import CopyEngine, FastEngine, evaluate_path
from lmc.evaluation.affine import affine_span
from lmc.interpolation import LinearPath


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.ReLU(), nn.Linear(12, 10))


def mlp_norms() -> nn.Module:
    layers = [nn.Linear(192, 12), nn.BatchNorm1d(12), nn.ReLU(inplace=True), nn.Linear(12, 12, bias=False)]
    return nn.Sequential(nn.Flatten(), *layers, nn.LayerNorm(12), nn.GELU(), nn.Dropout(), nn.Linear(12, 10))


def wide() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 600), nn.ReLU(), nn.Linear(600, 600), nn.ReLU(), nn.Linear(600, 10)
    )


class Lenet(nn.Module):
    """``view`` behind a convolution: refused where memory is channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Linear(36, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc(x.view(-1, 36))


class SeenTwice(Lenet):
    """What BatchNorm takes is used beside it: folding would change the network."""

    def forward(self, x):
        x = self.conv(x)
        return self.fc(F.max_pool2d(F.relu(self.norm(x)) + 0.5 * x, 2).reshape(len(x), -1))


class Centred(nn.Module):
    """Each example is compared with the mean of its batch: rows of several points must not mix."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(192, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = torch.tanh(self.one(x.flatten(1)))
        return self.two(x - x.mean(0))


class ReadsWeights(nn.Module):
    """A layer that is never called, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(192, 8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = F.linear(x.flatten(1), self.one.weight, self.one.bias)
        return self.three(self.two(self.two(x).sigmoid()).relu())


class TwoBranches(nn.Module):
    """Two layers read the input, and the input itself is used further down."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(192, 192), nn.Linear(192, 192), nn.Linear(192, 10)

    def forward(self, x):
        x = x.flatten(1)
        return self.out(self.left(x).relu() * self.right(x).sigmoid() + x)


def weight_normed() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(192, 12))
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(12, 10))


def hooked() -> nn.Module:
    layer = nn.Linear(192, 12)
    layer.register_forward_hook(lambda layer, inputs, output: 2 * output)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(12, 10))


def named(reference: str):
    return lambda: resolve(reference, input_shape=(3, 8, 8), num_classes=10).module


NETWORKS = {
    "mlp": (mlp, "all points at once"),
    "mlp with norms": (mlp_norms, "all points at once"),
    "wide mlp": (wide, "1 at the ends only"),
    "a single layer": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), "all points at once"),
    "lenet": (Lenet, "BatchNorm folded, channels last"),
    "convolution used twice": (SeenTwice, "channels last"),
    "batch mixed": (Centred, "one at the ends only"),
    "weights read": (ReadsWeights, "weights swapped"),
    "two branches": (TwoBranches, "at the ends only"),
    "weight norm": (weight_normed, "weights swapped"),
    "hooked": (hooked, "weights swapped"),
    "resnet20": (named("resnet20"), "BatchNorm folded, channels last"),
    "vit": (named("vit?dim=8&heads=2&depth=1&hidden=8&patch=4"), "channels last"),
}


def ends(make, seed: int, count: int = 2) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """Return a network and states of it, statistics and scales far from their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        states = []
        for _ in range(count):
            state = copy.deepcopy(make().state_dict())
            for name, value in state.items():
                if value.is_floating_point() and value.ndim == 1:
                    state[name] = torch.rand_like(value) + 0.5
            states.append(state)
    return module, states


def wider(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


def examples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, 8, 8, generator=draw), torch.randint(0, 10, (count,), generator=draw)


def plain_losses(module, path, t, x, y, size: int) -> np.ndarray:
    """What a reader would write: load, run, next."""
    network = copy.deepcopy(module).double().eval()
    rows = []
    for position in t:
        network.load_state_dict(path.at(position))
        with torch.no_grad():
            outputs = torch.cat([network(part) for part in x.double().split(size)])
        rows.append(F.cross_entropy(outputs, y, reduction="none").numpy())
    return np.stack(rows)


T = [0.0, 0.2, 0.5, 0.85, 1.0]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 2**20), count=st.integers(4, 23), size=st.integers(4, 30), memory=st.sampled_from([1, 2**30])
)
def test_numbers_are_those_of_a_plain_loop(name, seed, count, size, memory) -> None:
    module, (a, b) = ends(NETWORKS[name][0], seed)
    count, size = (count, count) if name == "batch mixed" else (count, size)
    path, (x, y) = LinearPath(wider(a), wider(b)), examples(count)
    expected = plain_losses(module, path, T, x, y, size)
    options = {"batch_size": size, "memory": memory}
    found = evaluate_path(module, path, T, as_data((x, y)), dtype=torch.float64, **options)
    np.testing.assert_allclose(found.example_loss, expected, rtol=1e-10, atol=1e-12)
    narrow = evaluate_path(module, LinearPath(a, b), T, as_data((x, y)), **options)
    np.testing.assert_allclose(narrow.loss, expected.mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_takes_the_way_it_can(name) -> None:
    """Without this, every test of equality would pass on plain copies."""
    module, (a, b) = ends(NETWORKS[name][0], 0)
    assert NETWORKS[name][1] in evaluate_path(module, LinearPath(a, b), T, as_data(examples(9))).how


def test_a_wrong_fold_would_be_seen() -> None:
    """The check on a few examples is what keeps BatchNorm apart where its input is used beside it."""
    module, (a, b) = ends(SeenTwice, 0)
    how = evaluate_path(module, LinearPath(a, b), T, as_data(examples(9))).how
    assert "folded" not in how and "folded" in evaluate_path(*lenet_path(), T, as_data(examples(9))).how


def lenet_path():
    module, (a, b) = ends(Lenet, 0)
    return module, LinearPath(a, b)


@pytest.mark.parametrize("make", [mlp, wide])
def test_points_in_a_plane_share_three_corners(make) -> None:
    """What a basin needs; outside the triangle of the corners too."""
    module, (a, b, c) = ends(make, 3, count=3)
    places = [(0, 0), (1, 0), (0, 1), (0.5, 0.25), (-0.25, 1.25), (1.5, -0.5), (0.3, 0.3)]

    class Plane:
        def at(self, t):
            u, v = places[int(t)]
            return {name: a[name] + u * (b[name] - a[name]) + v * (c[name] - a[name]) for name in a}

    data = as_data(examples(17))
    found = evaluate_path(module, Plane(), range(len(places)), data)
    expected = evaluate_path(module, Plane(), range(len(places)), data, engine=CopyEngine())
    assert "copy" not in found.how and "copy" in expected.how
    np.testing.assert_allclose(found.example_loss, expected.example_loss, rtol=1e-4, atol=1e-5)


def test_affine_spans() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b, c, d = torch.randn(4, 50, generator=draw)
    line = affine_span([[torch.lerp(a, b, t)] for t in T])
    assert line is not None and line.basis == (0, 4)
    np.testing.assert_allclose(line.coordinates[:, 0], T, atol=1e-6)
    assert affine_span([[a], [a], [a]]).basis == (0,)
    assert affine_span([[a], [b], [c], [d]]) is None
    bent = [[torch.lerp(a, b, t) + 1e-3 * c * t * (1 - t)] for t in T]
    assert affine_span(bent).basis != (0, 4), "a curve is no line"


def test_a_network_at_one_point_is_run_as_it_is() -> None:
    module, (a, _) = ends(mlp, 0)
    found = evaluate_path(module, LinearPath(a, a), 0.5, as_data(examples(5)), engine=FastEngine())
    assert found.how == "one network, weights swapped"


def test_a_loss_of_ones_own_sees_one_position_at_a_time() -> None:
    module, (a, b) = ends(mlp, 0)
    sizes = []

    def own(outputs, targets):
        sizes.append(len(outputs))
        return outputs[:, 0]

    evaluate_path(module, LinearPath(a, b), T, as_data(examples(9)), loss=own)
    assert set(sizes) == {3, 9}  # the examples tried first, and all


def test_neither_global_state_nor_the_module_is_touched() -> None:
    module, (a, b) = ends(named("resnet20"), 0)
    kept, trained = copy.deepcopy(module.state_dict()), module.training
    before = torch.random.get_rng_state()
    evaluate_path(module, LinearPath(a, b), T, as_data(examples(5)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(module.state_dict()[name], value) for name, value in kept.items())
    assert not any(layer._forward_hooks for layer in module.modules()) and module.training == trained
