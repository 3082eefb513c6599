"""Plain convolutional networks under any names compute what their authors' code computes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lmc.architectures import NETWORKS, fit_state, resolve

POOL, ACT, FLAT = nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()
STRANGERS = {
    "cifar tutorial": (
        nn.Sequential(
            *(nn.Conv2d(3, 6, 5), ACT, POOL, nn.Conv2d(6, 16, 5), ACT, POOL, FLAT),
            *(nn.Linear(400, 120), ACT, nn.Linear(120, 84), ACT, nn.Linear(84, 10)),
        ),
        (3, 32, 32),
        "cnn 6-16 channels, 5-5 kernels, hidden 120-84",
    ),
    "pytorch/examples": (
        nn.Sequential(
            *(nn.Conv2d(1, 32, 3), ACT, nn.Conv2d(32, 64, 3), ACT, POOL, FLAT),
            *(nn.Linear(9216, 128), ACT, nn.Linear(128, 10)),
        ),
        (1, 28, 28),
        "cnn 32-64 channels, 3-3 kernels, hidden 128",
    ),
    "padded": (
        nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), ACT, POOL, nn.Conv2d(4, 8, 3, padding=1), ACT, POOL, FLAT),
            nn.Linear(8 * 49, 10),
        ),
        (1, 28, 28),
        "cnn 4-8 channels, 3-3 kernels",
    ),
}


@pytest.mark.parametrize(("stranger", "shape", "name"), STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("said", [True, False])
def test_a_strangers_network_is_recognised_and_computes_the_same(stranger, shape, name, said):
    state = stranger.state_dict()
    weights = SimpleNamespace(state=state, source="a.pt", metadata={})
    found = resolve(None, weights, input_shape=shape if said else None)
    assert found.name == name and found.input_shape == shape
    found.module.load_state_dict(fit_state(state, found.module, "a.pt"))
    x = torch.randn(2, *shape)
    torch.testing.assert_close(found.module(x), stranger(x))
    again = resolve(found.reference)
    assert list(again.module.state_dict()) == list(state)


def test_what_the_weights_cannot_tell_is_said():
    state = STRANGERS["pytorch/examples"][0].state_dict()
    found = resolve(None, SimpleNamespace(state=state, source="a.pt", metadata={}))
    assert "max pooling by 2 after the last convolution and none padding assumed" in found.assumptions[1]


def test_a_lenet_stays_a_lenet():
    assert NETWORKS["cnn"].from_state(NETWORKS["lenet"]().state_dict(), None) is None
