"""Statistics of units do not depend on how the data are cut, and folding is the affine map that it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lmc.interpolation import moments
from lmc.interpolation.moments import Moments, MomentSums
from lmc.interpolation.unit_layers import UnitLayer


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 15), st.integers(1, 5), st.floats(-1e3, 1e3), st.integers(0, 2**31))
def test_batches_add_up_to_the_whole(examples, batch, units, centre, seed) -> None:
    values = centre + torch.randn(examples, units, 3, generator=torch.Generator().manual_seed(seed))
    sums = MomentSums()
    for part in values.split(batch):
        sums.add(part, 1)
    sums.add(values[:0], 1)  # an empty batch, as an unused expert gives
    columns = values.double().movedim(1, -1).flatten(0, -2)
    assert sums.moments.count == len(columns)
    torch.testing.assert_close(sums.moments.mean, columns.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sums.moments.std, columns.std(0, unbiased=False), rtol=1e-9, atol=1e-9)


def test_outputs_without_a_batch_are_one_example() -> None:
    sums = MomentSums()
    for value in (1.0, 3.0):
        sums.add(torch.tensor([value, 5.0]), -1)
    assert sums.moments.mean.tolist() == [2.0, 5.0] and sums.moments.std.tolist() == [1.0, 0.0]
    sums = MomentSums()
    sums.add(torch.arange(8.0).view(2, 2, 2), -3)
    assert sums.moments.mean.tolist() == [1.5, 5.5] and sums.moments.count == 4


def test_large_batches_are_taken_in_parts(monkeypatch) -> None:
    monkeypatch.setattr(moments, "_CHUNK", 8)
    sums, values = MomentSums(), torch.randn(30, 4)
    sums.add(values, -1)
    torch.testing.assert_close(sums.moments.std, values.double().std(0, unbiased=False))


def test_small_variance_beside_a_large_mean_survives() -> None:
    """What a sum of squares in float32, or even in float64, would lose."""
    values = 1e6 + 0.5 * (torch.arange(64) % 2).float()[:, None]
    sums = MomentSums()
    for part in values.split(10):
        sums.add(part, -1)
    assert float(sums.moments.std) == pytest.approx(0.25, rel=1e-9)


def test_between_and_mapped() -> None:
    a = Moments(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]), 3)
    b = Moments(torch.tensor([4.0, 1.0]), torch.tensor([3.0, 0.0]), 3)
    assert a.between(b, 0.25).mean.tolist() == [1.0, 1.0] and a.between(b, 0.25).std.tolist() == [1.5, 1.5]
    mapped = a.mapped(torch.tensor([-2.0, 0.5]), torch.tensor([1.0, 0.0]))
    assert mapped.mean.tolist() == [1.0, 0.5] and mapped.std.tolist() == [2.0, 1.0]


LAYERS = {
    "linear": (lambda g: nn.Linear(4, 6), (3, 4), -1),
    "bilinear": (lambda g: nn.Bilinear(4, 4, 6), (3, 4), -1),
    "conv1d": (lambda g: nn.Conv1d(4, 6, 3, groups=g), (3, 4, 9), 1),
    "conv2d": (lambda g: nn.Conv2d(4, 6, 3, groups=g), (3, 4, 5, 5), 1),
    "transposed": (lambda g: nn.ConvTranspose2d(4, 6, 3, groups=g), (3, 4, 5, 5), 1),
    "transposed 1d": (lambda g: nn.ConvTranspose1d(4, 6, 3, groups=g), (3, 4, 5), 1),
    "group norm": (lambda g: nn.GroupNorm(g, 6), (3, 6, 5, 5), 1),
    "layer norm": (lambda g: nn.LayerNorm(6), (3, 2, 6), -1),
}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", LAYERS)
def test_folded_tensors_scale_and_shift_the_outputs(kind, groups) -> None:
    make, shape, axis = LAYERS[kind]
    torch.manual_seed(0)
    layer, inputs = make(groups).double(), [torch.randn(shape, dtype=torch.float64)]
    inputs *= 2 if kind == "bilinear" else 1
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    scale, shift = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    names = {name: (f"x.{name}",) for name in layer.state_dict()}
    described = UnitLayer("x", axis, names, type(layer), groups if "trans" in kind else 1)
    state = {f"x.{name}": value for name, value in layer.state_dict().items()}
    with torch.no_grad():
        before = layer(*inputs).movedim(axis, -1)
        layer.load_state_dict({name[2:]: value for name, value in described.folded(state, scale, shift).items()})
        torch.testing.assert_close(layer(*inputs).movedim(axis, -1), before * scale + shift)
