"""What the graph alone cannot vouch for is frozen, and the proof does not take the graph's word for the module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmc.symmetry import find_symmetries, verify
from lmc.testing import tiny_mlp


class Positions(nn.Module):
    """Position embeddings for ten, of which a shorter input uses some."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)
        self.positions = nn.Parameter(torch.randn(1, 10, 8))

    def forward(self, x):
        return self.second(torch.relu(self.first(x) + self.positions[:, : x.shape[1]]))


def test_positions_that_the_example_does_not_reach_are_frozen():
    model = Positions().eval().double()
    spec = find_symmetries(model, torch.zeros(2, 4, 3).double())
    assert [group.size for group in spec.groups] == [8]
    assert "cut away" in spec.frozen["positions", 1]
    moved = spec.apply(model.state_dict(), spec.random(0))
    longer = torch.randn(2, 10, 3, dtype=torch.float64)
    assert torch.allclose(torch.func.functional_call(model, moved, (longer,)), model(longer))


class Masked(nn.Module):
    """A pruning mask over the units, all ones until something is pruned."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)
        self.register_buffer("mask", torch.ones(8, dtype=kind))

    def forward(self, x):
        return self.second(self.first(x) * self.mask)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64])
def test_whole_numbers_in_the_state_are_not_judged_by_their_present_values(kind):
    spec = find_symmetries(Masked(kind).eval(), torch.zeros(2, 3))
    assert spec.groups == ()
    assert "whole numbers" in spec.frozen["first.weight", 0]


@pytest.mark.parametrize("layout", ["same", "transposed"])
def test_tensors_that_share_memory_are_one_or_stay(layout):
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    shared = model[0].weight.detach()
    model[2].weight = nn.Parameter(shared if layout == "same" else shared.t())
    spec = find_symmetries(model, torch.zeros(2, 6))
    moved = spec.apply(model.state_dict(), spec.random(1))
    expected = model(torch.ones(1, 6)).detach()
    model.load_state_dict(moved)
    assert torch.allclose(model(torch.ones(1, 6)), expected, atol=1e-6)


class Shifty(nn.Module):
    """Does something else with larger batches: a graph traced on a small one does not show it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return self.second(hidden.flip(1) * torch.arange(8.0) if x.shape[0] > 4 else hidden)


def test_the_module_itself_is_held_to_the_claim_on_the_given_inputs():
    model = Shifty().eval()
    spec = find_symmetries(model, torch.zeros(2, 3))
    assert verify(spec, model, torch.randn(2, 3)).ok
    verdict = verify(spec, model, torch.randn(8, 3))
    assert not verdict.ok
    assert "the module itself" in verdict.message


def test_a_spec_of_another_network_is_not_verified():
    spec = find_symmetries(tiny_mlp((4, 6, 2)), torch.zeros(2, 4))
    assert not verify(spec, nn.Linear(9, 3), torch.zeros(1, 4)).ok


def test_noise_in_the_network_is_told_from_an_error():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.second(nn.functional.dropout(self.first(x), 0.5, training=True))

    model = Noisy().eval()
    verdict = verify(find_symmetries(model, torch.zeros(2, 4)), model, torch.zeros(2, 4))
    assert not verdict.ok
    assert "differ from one run to the next" in verdict.message


def test_a_single_number_as_output_is_enough():
    model = tiny_mlp((4, 6, 1))
    assert verify(find_symmetries(model, torch.zeros(1, 4)), model, torch.zeros(1, 4)).ok


def test_a_rule_that_fails_freezes_what_its_op_touches(monkeypatch):
    from lmc.symmetry import find

    def failing(op):
        raise TypeError("a call nobody thought of")

    monkeypatch.setattr(find, "RULES", {**find.RULES, "aten.relu": failing})
    spec = find_symmetries(tiny_mlp((4, 6, 2)), torch.zeros(2, 4))
    assert spec.groups == ()
    assert "aten.relu" in spec.frozen["0.weight", 0]
