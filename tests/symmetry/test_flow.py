"""Stretches of a residual stream: where it is cut, what lies on which piece, and nothing left out."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from lmc import find_symmetries, resolve
from lmc.symmetry import PermutationSpec
from lmc.symmetry.flow import Flow, flow
from lmc.symmetry.sites import Sighting


class Residual(nn.Module):
    """Two blocks on a stream of four, the second one's bias added apart."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.norm = nn.Linear(3, 4), nn.LayerNorm(4)
        self.up, self.down = nn.Linear(4, 5), nn.Linear(5, 4, bias=False)
        self.bias, self.end = nn.Parameter(torch.zeros(4)), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        return self.end(x + (self.down(self.up(self.norm(x)).relu()) + self.bias))


@functools.cache
def found(reference: str, shape: tuple[int, ...], classes: int) -> tuple[PermutationSpec, Flow]:
    net = resolve(reference, input_shape=shape, num_classes=classes)
    spec = find_symmetries(net.module, *net.example_inputs(seed=0))
    return spec, flow(Sighting(spec), [group.name for group in spec.groups if not group.over])


def test_a_stream_is_cut_at_its_sums_and_biases_are_no_streams():
    spec = find_symmetries(Residual(), torch.zeros(2, 3))
    cut = flow(Sighting(spec), [group.name for group in spec.groups])
    stream = spec.axes_of["end.weight"][0][0]
    numbers = cut.of(stream)
    assert [{param for param, _ in cut.stretches[number].made} for number in numbers] == [
        {"start.weight", "start.bias", "norm.weight", "norm.bias"},
        {"down.weight", "bias"},
        set(),
    ]
    last = cut.stretches[cut.where["end.weight", 1, stream]]
    assert last.joined == (cut.where["start.weight", 0, stream], cut.where["down.weight", 0, stream])
    assert cut.where["up.weight", 1, stream] == cut.where["norm.weight", 0, stream] == last.joined[0]
    whole = flow(Sighting(spec), [])
    assert len(whole.of(stream)) == 1 and whole.stretches[whole.of(stream)[0]].joined is None


@pytest.mark.parametrize(
    ("reference", "shape", "sums"),
    [
        ("vit?dim=8&heads=2&hidden=6&depth=2&patch=4", (1, 8, 8), 5),
        ("gpt?dim=8&heads=2&depth=1", (6,), 3),
        ("llama?dim=8&heads=4&sharing=2&hidden=6&depth=1", (6,), 2),  # as many units in a head as there are heads
        ("llama?dim=24&heads=6&sharing=3&hidden=6&depth=1", (6,), 2),
        ("resnet20?blocks=1&width=0.25", (3, 8, 8), 6),  # 1, 2 and 3 groups are added to
    ],
)
def test_every_axis_lies_on_a_stretch_and_every_sum_follows_its_terms(reference, shape, sums):
    spec, cut = found(reference, shape, 5)
    axes = {(axis.param, axis.dim, group.name) for group in spec.groups for axis in group.axes}
    assert set(cut.where) == axes
    assert all(cut.stretches[number].group == group for (_, _, group), number in cut.where.items())
    joined = {number: one.joined for number, one in enumerate(cut.stretches) if one.joined}
    assert len(joined) == sums
    for number, terms in joined.items():
        assert all(cut.stretches[term].group == cut.stretches[number].group for term in terms)
        assert max(terms) < number, "in the order of the forward pass"


def test_a_tied_head_reads_where_it_makes():
    spec, cut = found("gpt?dim=8&heads=2&depth=1", (6,), 5)
    stream = spec.axes_of["transformer.wte.weight"][0][0]
    assert cut.where["transformer.wte.weight", 1, stream] != cut.where["transformer.ln_f.weight", 0, stream]
