"""Tracing reads no weights, copies none, and says what to do where it fails."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from lmc._errors import SymmetryError
from lmc.symmetry import Axis, PermutationGroup, PermutationSpec, find_symmetries, verify


def _mlp(device=None):
    return nn.Sequential(nn.Linear(6, 8, device=device), nn.ReLU(), nn.Linear(8, 2, device=device))


def test_weights_on_the_meta_device_have_the_same_groups():
    real, fake = (find_symmetries(_mlp(device), torch.zeros(1, 6)) for device in (None, "meta"))
    assert [(g.name, g.size, list(map(str, g.axes))) for g in real.groups] == [
        (g.name, g.size, list(map(str, g.axes))) for g in fake.groups
    ]


def test_what_has_no_numbers_is_not_called_verified():
    model = _mlp("meta")
    verdict = verify(find_symmetries(model, torch.zeros(1, 6)), model, torch.zeros(1, 6))
    assert not verdict.ok
    assert "structure only" in verdict.message


def test_tracing_copies_no_parameter(monkeypatch):
    model = _mlp()
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", lambda *_: pytest.fail("a parameter was copied"))
    assert len(find_symmetries(model, torch.zeros(1, 6)).groups) == 1


def test_tracing_leaves_the_module_as_it_was():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    find_symmetries(model, torch.zeros(2, 6))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def _old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


def _pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.3)


@pytest.mark.parametrize("wrap", [_old_weight_norm, parametrizations.weight_norm, parametrizations.spectral_norm])
def test_computed_weights_are_traced_to_what_they_are_computed_from(wrap):
    model = nn.Sequential(wrap(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 2)).eval()
    spec = find_symmetries(model, torch.zeros(1, 6))
    assert [group.size for group in spec.groups] == [8]
    verdict = verify(spec, model, torch.zeros(1, 6), breaks=None)
    assert verdict.ok, verdict.message


def test_a_pruned_layer_keeps_its_mask_with_its_units():
    model = nn.Sequential(_pruned(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 2)).eval()
    spec = find_symmetries(model, torch.zeros(1, 6))
    assert {str(axis) for axis in spec.groups[0].axes} >= {"0.weight_orig[0]", "0.weight_mask[0]", "2.weight[1]"}
    assert verify(spec, model, torch.zeros(1, 6)).ok


class Untraceable(nn.Module):
    """Its path depends on the numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(hidden.relu() if float(hidden.sum()) > 0 else hidden.tanh())


def _written(*axes):
    shapes = {name: tuple(t.shape) for name, t in Untraceable().state_dict().items()}
    return PermutationSpec((PermutationGroup("first", 8, tuple(Axis(*axis) for axis in axes)),), shapes)


def test_what_cannot_be_traced_names_the_way_out():
    with pytest.raises(SymmetryError, match="--write-spec"):
        find_symmetries(Untraceable(), torch.zeros(1, 6))


def test_a_written_spec_is_verified_on_the_module_itself():
    right = _written(("first.weight", 0), ("first.bias", 0), ("last.weight", 1))
    verdict = verify(right, Untraceable(), torch.zeros(3, 6), breaks=None)
    assert verdict.ok, verdict.message
    wrong = _written(("first.weight", 0), ("last.weight", 1))
    assert verify(wrong, Untraceable(), torch.zeros(3, 6)).guilty == ("first",)
