"""Groups are called what the field calls them, and coverage counts what moves."""

from __future__ import annotations

import pytest
import torch
from symmetry.networks import CASES
from torch import nn

from lmc.architectures import resolve
from lmc.symmetry import find_symmetries


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("mlp", {8: "units", 7: "units"}),
        ("batch norm", {6: "channels", 4: "channels"}),
        ("attention", {8: "residual stream", 2: "heads", 4: "inside head"}),
        ("fused attention", {8: "residual stream", 2: "heads", 4: "inside head", 10: "units"}),
        ("grouped queries", {5: "residual stream", 3: "heads", 2: "heads inside heads", 4: "inside head"}),
        ("option A", {4: {"residual stream", "channels"}, 8: "channels"}),
    ],
)
def test_kinds(name, kinds):
    case = CASES[name]
    for group in find_symmetries(case.build().eval(), case.inputs()).groups:
        assert group.kind in kinds[group.size], group


def test_kinds_of_convolution_groups():
    case = CASES["grouped"]
    kinds = [group.kind for group in find_symmetries(case.build().eval(), case.inputs()).groups]
    assert kinds == ["groups", "inside group", "inside group", "channels"]


def test_residual_stream_is_what_layers_add_into_and_gates_are_not():
    resnet = resolve("resnet20").module
    spec = find_symmetries(resnet, torch.zeros(1, 3, 32, 32))
    assert spec["conv1"].kind == "residual stream"
    assert {group.kind for group in spec.groups if group.name.endswith(".conv1")} == {"channels"}


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.gate, self.down = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.down(self.up(x) * self.gate(x).sigmoid())


def test_two_layers_that_are_multiplied_make_units():
    assert [group.kind for group in find_symmetries(Gated(), torch.zeros(2, 6)).groups] == ["units"]


def test_coverage_is_the_share_of_parameters_that_some_group_moves():
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    # All but the last bias: 4 * 8 + 8 + 8 * 2 of 58.
    assert find_symmetries(mlp, torch.zeros(1, 4)).coverage == pytest.approx(56 / 58)
    assert find_symmetries(nn.Linear(4, 2), torch.zeros(1, 4)).coverage == 0.0


def test_coverage_counts_a_stretch_of_a_dimension_once():
    # Half of the rows go to the output, half into a hidden layer: those have one group, heads another.
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(3, 8, bias=False), nn.Linear(4, 2, bias=False)

        def forward(self, x):
            shown, hidden = self.stem(x).chunk(2, -1)
            return shown, self.head(hidden.relu())

    assert find_symmetries(Half(), torch.zeros(1, 3)).coverage == pytest.approx((12 + 8) / (24 + 8))
