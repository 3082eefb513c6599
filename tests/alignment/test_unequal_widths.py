"""Transport between other widths: units held twice are carried without a change of function, either way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from torch import Tensor, nn

from lmc import find_symmetries
from lmc._errors import MismatchError, UsageError
from lmc.alignment import OptimalTransport, align
from lmc.alignment.coupling import Coupling
from lmc.alignment.transport import transport
from lmc.symmetry import PermutationSpec
from lmc.symmetry.sites import Sighting
from lmc.symmetry.widths import with_widths
from lmc.testing import fake_classification, scramble_statistics, tiny_cnn, tiny_mlp


class Blocks(nn.Module):
    """A residual stream, a dense connection, an LSTM: groups that lie beside each other and several times."""

    def __init__(self, stream: int = 4, inner: int = 5, cells: int = 3) -> None:
        super().__init__()
        self.first, self.up, self.down = nn.Linear(3, stream), nn.Linear(stream, inner), nn.Linear(inner, stream)
        self.norm = nn.BatchNorm1d(stream + inner)
        self.cells = nn.LSTM(stream + inner, cells, batch_first=True)
        self.last = nn.Linear(cells, 2)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.first(x)
        inner = self.up(stream).relu()
        both = torch.cat([stream + self.down(inner), inner], -1)
        both = self.norm(both.transpose(1, 2)).transpose(1, 2)
        return self.last(self.cells(both)[0][:, -1])


def networks(name: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """Return a network, one twice as wide, and inputs."""
    torch.manual_seed(0)
    if name == "mlp":
        return tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 16, 14, 3)), torch.randn(9, 6)
    if name == "cnn":
        return tiny_cnn((1, 4, 6)), tiny_cnn((1, 8, 12)), torch.randn(9, 1, 8, 8)
    small, large = Blocks(), Blocks(8, 10, 6)
    scramble_statistics(small)
    return small.eval(), large.eval(), torch.randn(9, 4, 3)


def widened(state: dict[str, Tensor], before: PermutationSpec, after: PermutationSpec, seed: int = 0):
    """Return a network with every unit twice, in a random order; readers take 0.3 and 0.7 of what they took of one."""
    rng, maps = np.random.default_rng(seed), {}
    for group in after.groups:
        size = before[group.name].size
        held, share = np.tile(np.arange(size), 2), np.repeat([0.3, 0.7], size)
        order = rng.permutation(group.size)
        makes = np.zeros((1, group.size, size))
        makes[0, np.arange(group.size), held[order]] = 1
        maps[group.name] = (makes, makes * share[order][:, None])
    moved = transport(state, before, after, maps, Sighting(after).roles())
    return {name: tensor.to(state[name].dtype) for name, tensor in moved.items()}


def pair(name: str, wide_is: str):
    """Return A, B of other widths but the same function, A's spec, both modules, and inputs."""
    small, large, x = networks(name)
    specs = find_symmetries(small, x[:2]), find_symmetries(large, x[:2])
    wide = widened(small.state_dict(), *specs)
    large.load_state_dict(wide)
    torch.testing.assert_close(large(x), small(x), rtol=1e-4, atol=1e-5)
    if wide_is == "b":
        return small.state_dict(), wide, specs[0], (small, large), x
    return wide, small.state_dict(), specs[1], (large, small), x


@pytest.mark.parametrize(
    ("method", "name"), [("ot", "mlp"), ("ot", "cnn"), ("ot", "blocks"), ("ot?on=activations", "blocks")]
)
@pytest.mark.parametrize("wide_is", ["a", "b"])
def test_units_held_twice_are_carried_without_a_change_of_function(name: str, wide_is: str, method: str):
    a, b, spec, (module, module_b), x = pair(name, wide_is)
    expected = module_b(x)
    data = fake_classification(x.shape[1:], examples=40)
    result = align(a, b, spec, method=method, data=data, module=module, module_b=module_b)
    carried = result.apply_soft(b)
    assert {key: one.shape for key, one in carried.items()} == {key: one.shape for key, one in a.items()}
    module.load_state_dict(carried)
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
    # Each unit went where it is held: B's first layer is A's. In another order it is not.
    first = next(iter(a))
    torch.testing.assert_close(carried[first], a[first], rtol=1e-5, atol=1e-5)
    name, plan = next((key, one.plan) for key, one in result.couplings.items())
    mixed = replace(result, couplings={**result.couplings, name: Coupling(np.roll(plan, 1, axis=1))})
    assert (mixed.apply_soft(b)[first] - a[first]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["mlp", "cnn", "blocks"])
def test_groups_of_another_width_lie_where_tracing_that_network_finds_them(name: str):
    small, large, x = networks(name)
    before, after = find_symmetries(small, x[:2]), find_symmetries(large, x[:2])
    found = with_widths(before, large.state_dict())
    assert found is not None and with_widths(before, small.state_dict()) is before
    for one, other in zip(found.groups, after.groups, strict=True):
        assert (one.name, one.size) == (other.name, other.size)
        for axis, wanted in zip(one.axes, other.axes, strict=True):
            assert (axis.param, axis.dim) == (wanted.param, wanted.dim)
            assert (axis.positions is None) == (wanted.positions is None)
            if axis.positions is not None:
                assert np.array_equal(np.sort(axis.positions, axis=1), np.sort(wanted.positions, axis=1))


@pytest.mark.parametrize("marginals", ["uniform", "l1"])
@pytest.mark.parametrize("solver", ["emd", "sinkhorn", "unbalanced"])
def test_plans_have_the_marginals_asked_for(solver: str, marginals: str):
    one, other = tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 5, 11, 3), seed=1)
    spec = find_symmetries(one, torch.zeros(1, 6))
    method = OptimalTransport(solver=solver, marginals=marginals)
    result = align(one.state_dict(), other.state_dict(), spec, method=method)
    assert not result.hard and result.soft and "permutation" in result.message
    assert {name: plan.plan.shape for name, plan in result.couplings.items()} == {"0": (1, 8, 5), "2": (1, 7, 11)}
    plan = result.couplings["0"].plan[0]
    if solver != "unbalanced":
        masses = [
            state["0.weight"].norm(dim=1) ** 2 + state["0.bias"] ** 2
            for state in (one.state_dict(), other.state_dict())
        ]
        masses = [mass.sqrt() if marginals == "l1" else torch.ones_like(mass) for mass in masses]
        for axis, mass in zip((1, 0), masses, strict=True):
            np.testing.assert_allclose(plan.sum(axis), mass / mass.sum(), atol=1e-5)
    one.load_state_dict(result.apply_soft(other.state_dict()))
    assert torch.isfinite(one(torch.randn(4, 6))).all()


def test_the_transported_state_is_that_of_a_direct_computation():
    one, other = tiny_mlp((4, 5, 3, 2)), tiny_mlp((4, 7, 2, 2), seed=1)
    a, b = ({key: t.double() for key, t in m.state_dict().items()} for m in (one, other))
    spec = find_symmetries(one, torch.zeros(1, 4))
    result = align(a, b, spec, method="ot?cost=sqeuclidean")
    reads = torch.eye(4).double()
    expected, cost = {}, 0.0
    for layer in ("0", "2"):
        rows, bias = b[f"{layer}.weight"] @ reads.T, b[f"{layer}.bias"]
        own = torch.cat([a[f"{layer}.weight"], a[f"{layer}.bias"][:, None]], 1)
        costs = torch.tensor([[((i - j) ** 2).sum() for j in torch.cat([rows, bias[:, None]], 1)] for i in own])
        plan = torch.from_numpy(ot.emd(ot.unif(len(own)), ot.unif(len(rows)), costs.double().numpy()))
        cost += float((plan * costs).sum()) * len(own) / 8
        makes, reads = plan / plan.sum(1, keepdim=True), plan / plan.sum(0)
        expected |= {f"{layer}.weight": makes @ rows, f"{layer}.bias": makes @ bias}
    expected |= {"4.weight": b["4.weight"] @ reads.T, "4.bias": b["4.bias"]}
    found = result.apply_soft(b)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-9, atol=1e-9)
    assert result.objective == pytest.approx(-cost)


@pytest.mark.parametrize("method", ["weights", "activations", "gw", "random", "frank-wolfe", "sinkhorn", "ot+weights"])
def test_methods_that_permute_refuse_other_widths(method: str):
    one, other = tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 8, 9, 3))
    spec = find_symmetries(one, torch.zeros(1, 6))
    given = {"data": fake_classification((6,)), "module": one}
    with pytest.raises(MismatchError, match=r"Group '2' has 7 units in A and 9 in B.*--align ot.*lmc fuse"):
        align(one.state_dict(), other.state_dict(), spec, method=method, **given)


def test_there_is_no_permutation_between_other_widths():
    one, other = tiny_mlp((6, 8, 7, 3)), tiny_mlp((6, 8, 9, 3), seed=1)
    spec = find_symmetries(one, torch.zeros(1, 6))
    result = align(one.state_dict(), other.state_dict(), spec, method="ot?solver=sinkhorn")
    # The group of one width moves along its plan too: nothing is rounded, nothing lost by that.
    assert result.couplings["0"].hardness < 0.99 and result.rounding_loss == 0
    with pytest.raises(UsageError, match=r"Group '2' has 7 units in A and 9 in B.*apply_soft"):
        result.apply(other.state_dict())
    with pytest.raises(UsageError, match="module_b="):
        given = {"data": fake_classification((6,)), "module": one}
        align(one.state_dict(), other.state_dict(), spec, method="ot?on=activations", **given)


@pytest.mark.parametrize("widths", [(6, 8, 3), (5, 8, 7, 3), (6, 8, 7, 4), (6, 8, 7, 7, 3)])
def test_networks_that_differ_in_more_than_widths_are_refused_as_they_were(widths: tuple[int, ...]):
    one, other = tiny_mlp((6, 8, 7, 3)), tiny_mlp(widths)
    spec = find_symmetries(one, torch.zeros(1, 6))
    with pytest.raises(MismatchError, match="not of the architecture the symmetries belong to"):
        align(one.state_dict(), other.state_dict(), spec, method="ot")


def test_maps_of_another_size_are_no_other_width():
    """Twice the side of an image is no other number of channels, and neither is a channel that lies scattered."""
    one, other = tiny_cnn((1, 4, 6)), tiny_cnn((1, 4, 6), size=16)
    spec = find_symmetries(one, torch.zeros(1, 1, 8, 8))
    assert with_widths(spec, other.state_dict()) is None


def test_a_tensor_of_fewer_dimensions_is_another_architecture():
    a = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))
    b = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8))
    spec = find_symmetries(a, torch.zeros(1, 6))
    assert with_widths(spec, b.state_dict()) is None
    with pytest.raises(MismatchError):
        align(a.state_dict(), b.state_dict(), spec, method="ot")
