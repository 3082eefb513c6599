"""The check of the check: a spec with one axis missing must be refused, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from symmetry.networks import CASES
from torch import nn

from lmc.symmetry import find_symmetries, verify
from lmc.testing import tiny_cnn, tiny_mlp


def without(spec, group_at: int, axis_at: int):
    """Return the spec with one axis of one group left out."""
    groups = list(spec.groups)
    axes = list(groups[group_at].axes)
    del axes[axis_at]
    groups[group_at] = replace(groups[group_at], axes=tuple(axes))
    return replace(spec, groups=tuple(groups))


@pytest.mark.parametrize("name", ["mlp", "batch norm", "flatten", "option A", "lstm", "attention"])
def test_a_spec_that_lacks_any_one_axis_is_refused(name):
    case = CASES[name]
    model = case.build().eval()
    spec = find_symmetries(model, case.inputs())
    for position, group in enumerate(spec.groups):
        for axis in range(len(group.axes)):
            verdict = verify(without(spec, position, axis), model, case.inputs())
            inert = str(group.axes[axis]).startswith("key.bias")  # softmax does not see it
            assert verdict.ok == inert, f"{group.name} without {group.axes[axis]}"


def test_the_guilty_group_is_named():
    model = tiny_mlp((4, 6, 5, 2))
    spec = find_symmetries(model, torch.zeros(2, 4))
    verdict = verify(without(spec, 1, 0), model, torch.zeros(2, 4))
    assert verdict.guilty == (spec.groups[1].name,)
    assert spec.groups[1].name in verdict.message


def test_default_statistics_do_not_hide_an_error():
    """On a fresh network, statistics left behind change nothing: the check must draw its own."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval()
    spec = find_symmetries(model, torch.zeros(2, 4))
    at = [str(axis) for axis in spec.groups[0].axes].index("1.running_mean[0]")
    broken = without(spec, 0, at)
    permuted = broken.apply(model.state_dict(), broken.random(0))
    x = torch.randn(5, 4)
    assert torch.allclose(torch.func.functional_call(model, permuted, (x,)), model(x), atol=1e-6)
    assert not verify(broken, model, torch.zeros(2, 4)).ok


def test_a_zero_head_does_not_hide_an_error():
    model = tiny_mlp((4, 6, 2))
    with torch.no_grad():
        model[-1].weight.zero_()
    spec = find_symmetries(model, torch.zeros(2, 4))
    assert verify(spec, model, torch.zeros(2, 4)).ok
    assert not verify(without(spec, 0, 0), model, torch.zeros(2, 4)).ok


def test_a_constant_output_is_an_error_of_the_check():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 6)

        def forward(self, x):
            return self.layer(x).sum(1) * 0

    model = Constant().eval()
    verdict = verify(find_symmetries(model, torch.zeros(2, 4)), model, torch.zeros(2, 4))
    assert not verdict.ok
    assert "constant" in verdict.message


def test_casts_inside_the_network_do_not_limit_the_precision():
    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 64), nn.Linear(64, 2)

        def forward(self, x):
            return self.second(torch.relu(self.first(x)).to(torch.float32).softmax(1))

    model = Casting().eval()
    verdict = verify(find_symmetries(model, torch.zeros(2, 4)), model, torch.zeros(2, 4))
    assert verdict.ok
    assert verdict.error < 1e-13


def test_the_network_is_untouched():
    model = tiny_cnn()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    verify(find_symmetries(model, torch.zeros(2, 1, 8, 8)), model, torch.zeros(2, 1, 8, 8))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_module_that_asks_for_its_version_is_run_itself():
    class Versioned(nn.Linear):
        _version = 2

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            if metadata.get("version") != 2:
                raise ValueError("weights of no version")
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    model = nn.Sequential(Versioned(4, 6), nn.ReLU(), nn.Linear(6, 2))
    verdict = verify(find_symmetries(model, torch.zeros(2, 4)), model, torch.zeros(2, 4))
    assert verdict.ok, verdict.message
