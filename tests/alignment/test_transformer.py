"""A planted permutation of a trained transformer is found again: heads, inside heads, hidden units, residual stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from modular_addition import ModularAddition, all_pairs

from lmc.alignment import align
from lmc.checkpoints import load
from lmc.symmetry import find_symmetries, verify


@pytest.mark.shared
@pytest.mark.parametrize(("file", "accuracy"), [("a.pt", 100.0), ("b.pth", 99.95)])
def test_planted_permutation_is_recovered_exactly(shared_data, file, accuracy):
    model = ModularAddition().eval()
    state = load(shared_data / "checkpoints/modular-addition-transformer" / file).state
    model.load_state_dict(state)
    tokens, sums = all_pairs()
    with torch.no_grad():
        correct = (model(tokens)[:, :113].argmax(-1) == sums).double().mean()
    assert float(correct) * 100 == pytest.approx(accuracy, abs=0.1)

    spec = find_symmetries(model, tokens[:4])
    kinds = {(group.kind, group.blocks, group.size) for group in spec.groups}
    assert kinds == {("residual stream", 1, 128), ("heads", 1, 4), ("inside head", 4, 32), ("units", 1, 512)}
    assert sum(group.kind == "inside head" for group in spec.groups) == 2  # queries with keys, values with outputs
    assert verify(spec, model, tokens[:4], breaks=None).ok

    planted = spec.random(seed=5)
    result = align(state, spec.apply(state, planted), spec, method="weights")
    undone = spec.compose(planted, result.permutation)
    for group in spec.groups:
        np.testing.assert_array_equal(undone[group.name], group.identity())
