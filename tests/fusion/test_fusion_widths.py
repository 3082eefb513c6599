"""Other widths: one network keeps its function, mean-field scales it, networks of two widths meet in a third."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lmc import find_symmetries, fuse
from lmc._errors import UsageError
from lmc.testing import tiny_cnn, tiny_mlp


def widths(*sizes: tuple[int, ...], bias: bool = True) -> list[tuple[nn.Module, object]]:
    networks = [tiny_mlp(one, bias=bias, seed=number) for number, one in enumerate(sizes)]
    return [(network, find_symmetries(network, torch.zeros(1, sizes[0][0]))) for network in networks]


@pytest.mark.parametrize("method", ["wb", "wb?start=random", "ot"])
def test_one_network_in_doubled_widths_computes_what_it_did(method: str):
    (small, before), (large, after) = widths((6, 8, 7, 5, 3), (6, 16, 14, 10, 3))
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    expected = small(x)
    result = fuse([small.state_dict()], before, target=after, method=method)
    large.load_state_dict(result.state)
    torch.testing.assert_close(large(x), expected, rtol=1e-5, atol=1e-5)
    assert result.ratio == 1.0 and result.widths == {"0": 16, "2": 14, "4": 10}
    # Without splitting what is read, biases make it another function.
    large.load_state_dict(fuse([small.state_dict()], before, target=after, method="wb?normalize=mean-field").state)
    assert (large(x) - expected).abs().max() > 0.1


def test_mean_field_scales_three_doubled_layers_without_biases_by_eight():
    (small, before), (large, after) = widths((6, 8, 7, 5, 3), (6, 16, 14, 10, 3), bias=False)
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    result = fuse([small.state_dict()], before, target=after, method="wb?normalize=mean-field")
    large.load_state_dict(result.state)
    torch.testing.assert_close(large(x), 8 * small(x), rtol=1e-5, atol=1e-5)
    assert result.ratio == 8.0


def test_a_convolutional_network_in_doubled_widths_computes_what_it_did():
    small, large = tiny_cnn((1, 4, 6)), tiny_cnn((1, 8, 12))
    x = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    specs = [find_symmetries(network, x) for network in (small, large)]
    large.load_state_dict(fuse([small.state_dict()], specs[0], target=specs[1], method="wb").state)
    torch.testing.assert_close(large(x), small(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["wb", "wb?solver=sinkhorn&reg=0.5", "wb?starts=4", "ot"])
def test_networks_of_two_widths_meet_in_a_third(method: str):
    (one, first), (two, second), (third, target) = widths((6, 8, 7, 3), (6, 12, 5, 3), (6, 10, 6, 3))
    result = fuse([one.state_dict(), two.state_dict()], [first, second], target=target, method=method)
    third.load_state_dict(result.state)
    assert torch.isfinite(third(torch.randn(4, 6))).all()
    for found, sizes in zip(result.couplings, ((8, 7), (12, 5)), strict=True):
        for (name, places), units in zip({"0": 10, "2": 6}.items(), sizes, strict=True):
            assert found[name].plan.shape == (1, places, units)
            np.testing.assert_allclose(found[name].plan.sum(2), 1 / places, atol=1e-5)
            np.testing.assert_allclose(found[name].plan.sum(1), 1 / units, atol=1e-5)
    with pytest.raises(UsageError, match="has 8 units, fused 10"):
        result.permutation(0)


def test_copies_of_one_network_in_two_widths_fuse_into_it():
    """A network and the same one with every unit twice are one function, and so is what they are fused into."""
    (small, before), (large, after) = widths((6, 8, 7, 3), (6, 16, 14, 3))
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    wide = fuse([small.state_dict()], before, target=after, method="wb").state
    wide = after.apply(wide, after.random(3))
    for target, module in ((before, small), (after, large)):
        expected = tiny_mlp((6, 8, 7, 3))(x)
        module.load_state_dict(fuse([small.state_dict(), wide], [before, after], target=target, method="wb").state)
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)


def test_what_transport_cannot_do_between_widths_is_refused():
    (one, first), (_, target) = widths((6, 8, 7, 3), (6, 10, 6, 3))
    with pytest.raises(UsageError, match="marginals=uniform"):
        fuse([one.state_dict()], first, target=target, method="ot?marginals=l2")
