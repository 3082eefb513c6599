"""Groups are those that hand reasoning gives, and every one is proved on redrawn weights, axis by axis."""

from __future__ import annotations

import pytest
import torch
from symmetry.networks import CASES, Function, unknown_op
from symmetry.ops import OPS
from torch import nn

from lmc._errors import SymmetryError
from lmc.symmetry import find_symmetries, verify
from lmc.symmetry.rules import FAMILIES, RULES


@pytest.mark.parametrize("name", CASES)
def test_groups_are_the_expected_ones_and_verified(name):
    case = CASES[name]
    model = case.build().eval()
    spec = find_symmetries(model, case.inputs())
    assert sorted(group.size for group in spec.groups) == sorted(case.sizes)
    verdict = verify(spec, model, case.inputs(), breaks=None)
    assert verdict.ok, verdict.message
    assert verdict.error < 1e-12


@pytest.mark.parametrize("name", OPS)
def test_every_op_that_a_rule_knows_keeps_its_groups(name):
    case = OPS[name]
    model = case.build().eval()
    spec = find_symmetries(model, case.inputs())
    assert sorted(group.size for group in spec.groups) == sorted(case.sizes)
    assert any(case.why in why for why in spec.frozen.values())
    if spec.groups:
        verdict = verify(spec, model, case.inputs(), breaks=None)
        assert verdict.ok, verdict.message


def test_frozen_dimensions_say_why():
    net = Function(unknown_op, stem=nn.Linear(6, 5), other=nn.Linear(6, 5), head=nn.Linear(5, 2))
    spec = find_symmetries(net, torch.zeros(2, 6))
    assert "fft" in spec.frozen["stem.weight", 0]
    assert spec.frozen["stem.weight", 1] == "input"
    assert spec.frozen["head.weight", 0] == "output"


def test_the_callers_module_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.BatchNorm1d(6), nn.Linear(6, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    spec = find_symmetries(model, torch.zeros(2, 4))
    verify(spec, model, torch.zeros(2, 4))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [group.size for group in spec.groups] == [6]


def test_groups_come_in_the_order_of_the_forward_pass_and_have_distinct_names():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    spec = find_symmetries(model, torch.zeros(1, 4))
    assert [group.name for group in spec.groups] == ["0", "2"]


def test_running_statistics_belong_to_their_group():
    """A peer leaves them behind, which shows only once they are off their defaults."""
    spec = find_symmetries(CASES["batch norm"].build().eval(), CASES["batch norm"].inputs())
    names = {axis.param for axis in spec.groups[0].axes}
    assert {"1.running_mean", "1.running_var", "1.weight", "1.bias"} <= names


def test_padded_channels_are_one_group_in_two_places():
    case = CASES["option A"]
    spec = find_symmetries(case.build().eval(), case.inputs())
    axes = {str(axis): axis for group in spec.groups if group.size == 4 for axis in group.axes}
    lying = [axis.positions.tolist() for group in spec.groups for axis in group.axes if str(axis) == "conv2.weight[0*]"]
    assert sorted(lying) == [[[[0, 1, 6, 7]]], [[[2, 3, 4, 5]]]]
    assert "stem.weight[0]" in axes


def test_a_module_that_cannot_be_traced_says_why():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else x

    with pytest.raises(SymmetryError, match="Branching could not be traced"):
        find_symmetries(Branching(), torch.zeros(1, 2))


def test_every_op_stands_in_one_family():
    assert sum(len(family.RULES) for family in FAMILIES) == len(RULES)


def test_keyword_inputs_and_several_outputs():
    def forward(net, x, *, scale):
        hidden = torch.relu(net.stem(x)) * scale
        return {"logits": net.head(hidden), "aux": [net.aux(hidden)]}

    class Keyword(Function):
        def forward(self, x, scale=None):
            return self._forward(self, x, scale=scale)

    net = Keyword(forward, stem=nn.Linear(4, 6), head=nn.Linear(6, 2), aux=nn.Linear(6, 3))
    kwargs = {"scale": torch.tensor(2.0)}
    spec = find_symmetries(net, torch.zeros(2, 4), kwargs)
    assert [group.size for group in spec.groups] == [6]
    assert verify(spec, net, torch.zeros(2, 4), kwargs).ok
