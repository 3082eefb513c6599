"""Tiny networks, planted pairs and random datasets: for the tests of this project and of others that build on it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmc.symmetry.planted import planted_pair as planted_pair


def tiny_mlp(widths: Sequence[int] = (6, 8, 7, 3), *, bias: bool = True, seed: int = 0) -> nn.Module:
    """Return an MLP with ReLU between its layers, in eval mode.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden layers, outputs.
    bias : bool
        Whether layers have biases.
    seed : int
        Seed of the weights; the global generator is left as it was.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def tiny_cnn(channels: Sequence[int] = (1, 4, 6), classes: int = 3, *, size: int = 8, seed: int = 0) -> nn.Module:
    """Return a CNN with BatchNorm on square images, its running statistics away from their defaults, in eval mode."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for inputs, outputs in itertools.pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
            size //= 2
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * size * size, classes))
        scramble_statistics(network)
    return network.eval()


def scramble_statistics(network: nn.Module) -> None:
    """Draw BatchNorm's weights and running statistics at random, in place: their defaults hide permutation errors."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                for tensor in (module.weight, module.running_var):
                    if tensor is not None:
                        tensor.uniform_(0.5, 1.5)
                for tensor in (module.bias, module.running_mean):
                    if tensor is not None:
                        tensor.normal_(0, 0.3)


def fake_classification(
    shape: Sequence[int], classes: int = 3, *, examples: int = 64, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return random inputs, shape (examples, *shape), and labels."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn((examples, *shape), generator=generator)
    return inputs, torch.randint(classes, (examples,), generator=generator)
