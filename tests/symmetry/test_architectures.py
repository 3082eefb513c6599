"""Whole architectures in small: the groups are those that hand reasoning gives, and every one is proved."""

from __future__ import annotations

import itertools

import pytest
import torch
from symmetry.networks import Recurrent
from torch import nn

from lmc.architectures import resolve
from lmc.symmetry import find_symmetries, verify


def _proved(model, x):
    spec = find_symmetries(model.eval(), x)
    verdict = verify(spec, model, x, breaks=None)
    assert verdict.ok, verdict.message
    return spec


def _sizes(spec):
    return sorted((group.blocks, group.size) for group in spec.groups)


@pytest.mark.parametrize(
    ("kind", "layers", "both", "projection"),
    [
        (kind, layers, both, projection)
        for kind, layers, both, projection in itertools.product(
            (nn.RNN, nn.GRU, nn.LSTM), (1, 2, 3), (False, True), (0, 4)
        )
        if not projection or kind is nn.LSTM
    ],
)
def test_recurrence(kind, layers, both, projection):
    """One permutation a layer and direction, on all gates; where there is a projection, one of its outputs too."""
    options = {"proj_size": projection} if projection else {}
    spec = _proved(Recurrent(kind, num_layers=layers, bidirectional=both, **options), torch.randn(2, 4, 3))
    cells = layers * (1 + both)
    assert _sizes(spec) == sorted([(1, 5)] * cells + [(1, projection)] * (cells if projection else 0))


class UNet(nn.Module):
    """Two levels: down by a pool, up by a transposed convolution, joined by concatenation."""

    def __init__(self):
        super().__init__()
        self.enter, self.deep = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.norm, self.up = nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.join, self.leave = nn.Conv2d(9, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        wide = self.enter(x).relu()
        deep = self.norm(self.deep(nn.functional.max_pool2d(wide, 2))).relu()
        return self.leave(self.join(torch.cat([wide, self.up(deep)], 1)).relu())


def test_unet():
    spec = _proved(UNet(), torch.randn(1, 1, 8, 8))
    assert _sizes(spec) == [(1, 3), (1, 4), (1, 5), (1, 6)]
    # The joined convolution takes the wide channels first, then those that come up.
    assert [axis.positions.ravel().tolist() for axis in spec["enter"].axes if axis.param == "join.weight"] == [
        [0, 1, 2, 3]
    ]
    assert [axis.positions.ravel().tolist() for axis in spec["up"].axes if axis.param == "join.weight"] == [
        [4, 5, 6, 7, 8]
    ]


class Shuffled(nn.Module):
    """Grouped convolution, channels shuffled between the groups, grouped convolution."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 1), nn.Conv2d(6, 6, 1, groups=2)
        self.third, self.head = nn.Conv2d(6, 6, 1, groups=3), nn.Linear(6, 2)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        x = x.view(-1, 2, 3, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
        return self.head(self.third(x).mean((2, 3)))


def test_shuffle():
    """The shuffle turns (2 groups x 3) into (3 x 2): both factors are groups of a convolution, one each side."""
    spec = _proved(Shuffled(), torch.randn(1, 1, 4, 4))
    # Groups of `second`: 2, inside them on the input side 3 each. After the shuffle the 3 are the groups of `third`
    # and its inputs per group are the 2; inside each of the 3 groups `third` gives out 2 of its own.
    assert _sizes(spec) == [(1, 2), (1, 3), (2, 3), (3, 2)]


class Dense(nn.Module):
    """A dense block: every layer sees all before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(7), nn.BatchNorm2d(10)])
        self.layers = nn.ModuleList([nn.Conv2d(4, 3, 1), nn.Conv2d(7, 3, 1)])
        self.head = nn.Linear(10, 2)

    def forward(self, x):
        maps = [self.stem(x)]
        for norm, layer in zip(self.norms, self.layers, strict=False):
            maps.append(layer(norm(torch.cat(maps, 1)).relu()))
        return self.head(self.norms[-1](torch.cat(maps, 1)).relu().mean((2, 3)))


def test_dense_block():
    spec = _proved(Dense(), torch.randn(1, 1, 4, 4))
    assert _sizes(spec) == [(1, 3), (1, 3), (1, 4)]
    assert sum(axis.param.startswith("norms") for axis in spec["stem"].axes) == 3 * 4


class ResNeXt(nn.Module):
    """A residual block through a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.stem, self.narrow = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 6, 1)
        self.grouped, self.widen = nn.Conv2d(6, 6, 3, padding=1, groups=3), nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.stem(x)
        x = (x + self.widen(self.grouped(self.narrow(x).relu()).relu())).relu()
        return self.head(x.mean((2, 3)))


def test_resnext_block():
    """The stream; three groups; inside each its two inputs and its two outputs, apart."""
    spec = _proved(ResNeXt(), torch.randn(1, 1, 4, 4))
    assert _sizes(spec) == [(1, 3), (1, 8), (3, 2), (3, 2)]


def test_resnet20_with_padded_shortcuts():
    """Streams of 16, 16 new and 32 new channels (the middle is the stage before), and nine inner layers."""
    spec = find_symmetries(resolve("resnet20").module, torch.randn(1, 3, 32, 32))
    assert _sizes(spec) == sorted([(1, 16)] * 2 + [(1, 32)] + [(1, 16)] * 3 + [(1, 32)] * 3 + [(1, 64)] * 3)
