"""Networks carried into other places and widths: permutations are permutations, copies of units change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lmc import find_symmetries, fuse
from lmc._errors import MismatchError, UsageError
from lmc.alignment.assignment import assign
from lmc.alignment.transport import transport
from lmc.fusion.log_transport import entropic_plan
from lmc.fusion.problem import check_correspondence, check_shares
from lmc.symmetry.sites import Sighting
from lmc.testing import tiny_cnn, tiny_mlp


class Beside(nn.Module):
    """Two branches laid beside each other, so that two groups lie in one dimension."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, first), nn.Linear(5, second), nn.Linear(first + second, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.first(x).relu(), self.second(x).relu()], 1))


def networks(name: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Return a network, the same one wider, and an input."""
    if name == "beside":
        return Beside(3, 5), Beside(4, 6), torch.randn(7, 5)
    if name == "beside, as wide":
        return Beside(3, 5), Beside(3 + 1, 5 - 1), torch.randn(7, 5)
    if name == "cnn":
        return tiny_cnn((1, 4, 6)), tiny_cnn((1, 5, 9)), torch.randn(7, 1, 8, 8)
    return tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 11, 9, 3)), torch.randn(7, 6)


def maps_of(network, target, seed: int = 0) -> dict:
    """Return maps that fill every place with a copy of some unit and split what was read of it."""
    rng, found = np.random.default_rng(seed), {}
    for group in target.groups:
        size = network[group.name].size
        chosen = np.concatenate([rng.permutation(size), rng.integers(0, size, max(0, group.size - size))])
        makes = np.zeros((1, group.size, size))
        makes[0, np.arange(group.size), chosen[: group.size]] = 1
        found[group.name] = (makes, makes / np.maximum(makes.sum(1, keepdims=True), 1))
    return found


@pytest.mark.parametrize("name", ["beside", "cnn", "mlp"])
def test_copies_of_units_that_share_what_was_read_of_one_change_nothing(name: str):
    torch.manual_seed(0)
    small, large, inputs = networks(name)
    before, after = find_symmetries(small, inputs), find_symmetries(large, inputs)
    check_correspondence([before], after)
    moved = transport(small.state_dict(), before, after, maps_of(before, after), Sighting(after).roles())
    large.load_state_dict({key: tensor.to(large.state_dict()[key].dtype) for key, tensor in moved.items()})
    expected, seen = small.eval()(inputs), large.eval()(inputs)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    # What is read has to be split, not copied.
    wrong = {key: (makes, makes) for key, (makes, _) in maps_of(before, after).items()}
    large.load_state_dict(transport(small.state_dict(), before, after, wrong, Sighting(after).roles()))
    assert (large(inputs) - expected).abs().max() > 1e-2


def test_groups_beside_each_other_may_change_sizes_within_one_dimension():
    torch.manual_seed(0)
    small, large, inputs = networks("beside, as wide")
    before, after = find_symmetries(small, inputs), find_symmetries(large, inputs)
    moved = transport(small.state_dict(), before, after, maps_of(before, after), Sighting(after).roles())
    assert {key: tensor.shape for key, tensor in moved.items()} == {k: t.shape for k, t in large.state_dict().items()}


def test_what_does_not_correspond_is_refused():
    specs = [find_symmetries(tiny_mlp(widths), torch.zeros(1, widths[0])) for widths in ((6, 8, 3), (6, 8, 8, 3))]
    with pytest.raises(MismatchError, match="differ in their tensors"):
        check_correspondence(specs[1:], specs[0])
    other = find_symmetries(tiny_mlp((6, 8, 4)), torch.zeros(1, 6))
    with pytest.raises(MismatchError, match=r"differ in 2.weight: \(4, 8\) and \(3, 8\)"):
        check_correspondence([other], specs[0])


@pytest.mark.parametrize("mix", [(1.0,), (1.0, -1.0), (0.0, 0.0), (1.0, float("nan")), (1.0, float("inf"))])
def test_shares_that_make_no_sense_are_refused(mix: tuple[float, ...]):
    with pytest.raises(UsageError, match="mix"):
        check_shares(mix, 2)


def test_the_vanilla_average_has_its_shares_and_leaves_the_networks_alone():
    one, two = (tiny_mlp(seed=seed).state_dict() for seed in (0, 1))
    spec = find_symmetries(tiny_mlp(), torch.zeros(1, 6))
    kept = {key: tensor.clone() for key, tensor in one.items()}
    fused = fuse([one, two], spec, method="vanilla", mix=(3, 1))
    for key, tensor in fused.state.items():
        torch.testing.assert_close(tensor, 0.75 * one[key] + 0.25 * two[key])
        assert torch.equal(one[key], kept[key])
    assert fused.mix == (0.75, 0.25)
    with pytest.raises(UsageError, match="no couplings"):
        fused.permutation(0)
    with pytest.raises(UsageError, match="two networks or more"):
        fuse([one], spec, method="vanilla")
    with pytest.raises(MismatchError, match="network 2 are NaN"):
        fuse([one, {**two, "0.bias": two["0.bias"] * float("nan")}], spec, method="vanilla")


@pytest.mark.parametrize("reg", [1e-2, 1e-4, 1e-6])
def test_little_entropy_leads_to_the_assignment(reg: float):
    cost = np.random.default_rng(0).random((24, 24)) + 5  # far from where plain scaling starts
    plan, converged = entropic_plan(cost, reg * cost.std())
    best = np.eye(24)[assign(-cost)] / 24
    assert plan.sum() == pytest.approx(1) and (plan * cost).sum() == pytest.approx((best * cost).sum(), rel=reg)
    assert reg == 1e-2 or (converged and np.abs(plan - best).max() < 1e-6)
