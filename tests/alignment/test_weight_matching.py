"""Weight matching: what is kept up while B moves equals what is made anew, and the start finds what is planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import planted
from symmetry.networks import CASES
from torch import nn

import lmc
from lmc._errors import UsageError
from lmc.alignment import WeightMatching, align
from lmc.alignment.descent import Descent
from lmc.alignment.open_groups import averaged, blurred
from lmc.alignment.pair_worths import PairWorths, Problem
from lmc.alignment.weight_matching import _orders, _shares
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair, tiny_mlp

NETWORKS = [name for name, case in CASES.items() if case.sizes]


def steps(problem: Problem, seed: int, *, families: bool):
    """Yield random moves, few units and all, of groups and of whole families."""
    rng = np.random.default_rng(seed)
    for name in problem.axes:
        if families and name in problem.outer:
            continue
        step = {}
        for member in problem.family(name) if families else [name]:
            identity = problem.groups[member].identity()
            step[member] = rng.permuted(identity, axis=-1)
            if rng.random() < 0.5:
                step[member] = identity
                step[member][..., [0, -1]] = step[member][..., [-1, 0]]
        yield step


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("families", [False, True])
def test_sums_kept_up_equal_sums_made_anew(name, families):
    _, spec, a, b, _ = planted(name)
    problem = Problem(a, b, spec, _shares(b))
    assert problem.dtype == torch.float64
    kept = PairWorths(problem, problem.b)
    expected = dict(problem.b)
    for step in steps(problem, 0, families=families):
        for group in problem.axes:
            kept.of(group)
        kept.move(step)
        expected = {key: spec.permute(key, tensor, step) for key, tensor in expected.items()}
        assert all(torch.equal(kept.b[key], tensor) for key, tensor in expected.items())
        fresh = PairWorths(problem, kept.b)
        for group in problem.axes:
            np.testing.assert_allclose(kept.of(group), fresh.of(group), rtol=0, atol=1e-9)
    assert all(torch.equal(problem.b[key], b[key].to(problem.dtype)) for key in problem.b)


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_follow_when_a_group_is_open_no_more(name):
    _, spec, a, b, _ = planted(name)
    problem = Problem(a, b, spec)
    kept = PairWorths(problem, problem.b, problem.axes)
    for step in steps(problem, 1, families=True):
        for member in step:
            kept.of(member)
        kept.move(step, close=True)
        fresh = PairWorths(problem, kept.b, kept.open)
        for group in set(problem.axes) - kept.open:
            np.testing.assert_allclose(kept.of(group), fresh.of(group), rtol=0, atol=1e-9)
    assert not kept.open & set(problem.axes)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_open_group_counts_as_the_mean_of_its_permutations(name):
    """Averaging twice changes nothing, a permutation before it neither, and sums over units stay."""
    _, spec, a, _, _ = planted(name)
    for group in spec.groups:
        for axis in group.axes:
            tensor = a[axis.param].double()
            mean = averaged(axis, tensor)
            moved = axis.move(tensor, spec.random(3)[group.name])
            torch.testing.assert_close(averaged(axis, mean), mean)
            torch.testing.assert_close(averaged(axis, moved), mean)
            torch.testing.assert_close(mean.sum(axis.dim), tensor.sum(axis.dim))


@pytest.mark.parametrize("name", NETWORKS)
def test_products_with_open_groups_are_those_with_the_mean(name):
    """Summed and averaged tensors are smaller, and their products the same; the mean alone, of B as it is, is not."""
    _, spec, a, b, _ = planted(name)
    problem = Problem(a, b, spec)
    worths = PairWorths(problem, problem.b, problem.axes)
    for group in spec.groups:
        for axis in problem.axes[group.name]:
            others = worths._blurred(group.name, axis, worths.open)
            one, two = a[axis.param].double(), b[axis.param].double()
            mean = two
            for other in others:
                whole = other.positions is None
                mean = mean.mean(other.dim, keepdim=True).expand_as(mean) if whole else averaged(other, mean)
            left, right = blurred(others, axis, one, two)
            assert left.numel() <= one.numel()
            torch.testing.assert_close(axis.units(right) @ axis.units(left).T, axis.units(mean) @ axis.units(one).T)


def test_a_residual_stream_is_found_by_what_is_known_of_it():
    """Started from B as it is, what it touches in unknown order drowns its embeddings: the negative control."""
    architecture = lmc.resolve("gpt?dim=64&depth=2&heads=4", seed=0)
    spec = find_symmetries(architecture.module.eval(), architecture.example_inputs(seed=0))
    state = architecture.module.state_dict()
    b, answer = planted_pair(state, spec, noise=0.5, seed=1)
    inward, same = (align(state, b, spec, method=WeightMatching(restarts=1, start=s)) for s in ("inward", "same"))
    found = sum(int((inward.permutation[key] == perm).sum()) for key, perm in answer.items())
    assert found >= 0.99 * spec.units
    assert same.objective < 0.7 * inward.objective


def test_what_is_known_comes_first():
    """Inputs and outputs are fixed: a wide input layer is placed before what reads it."""
    model = tiny_mlp((50, 8, 7, 3))
    spec = find_symmetries(model, torch.zeros(1, 50))
    state = model.state_dict()
    problem = Problem(state, state, spec)
    assert list(Descent(problem)._known_first(list(problem.axes))) == [group.name for group in spec.groups]
    worths = PairWorths(problem, problem.b, problem.axes)
    first, second = (group.name for group in spec.groups)
    assert worths.known(first) == pytest.approx((50 * 8 + 8) / (50 * 8 + 8 + 8 * 7))
    worths.move({first: np.arange(8)}, close=True)
    assert worths.known(second) == 1


@pytest.mark.parametrize("order", ["random", "forward", "backward"])
@pytest.mark.parametrize("start", ["inward", "same"])
def test_every_order_and_start_recovers_and_repeats(order, start):
    model = tiny_mlp((12, 16, 14, 5))
    spec = find_symmetries(model, torch.zeros(1, 12))
    state = model.state_dict()
    b, answer = planted_pair(state, spec, seed=2)
    method = WeightMatching(order=order, start=start)
    one, two = (align(state, b, spec, method=method) for _ in range(2))
    assert all(np.array_equal(one.permutation[key], perm) for key, perm in answer.items())
    assert one.trace == two.trace and one.restarts == two.restarts


def test_orders_are_those_of_the_forward_pass():
    spec = find_symmetries(tiny_mlp((4, 6, 5, 7, 3)), torch.zeros(1, 4))
    names = [group.name for group in spec.groups]
    orders = _orders(spec, np.random.default_rng(0))
    assert orders["forward"](names[::-1]) == names and orders["backward"](names) == names[::-1]
    assert sorted(orders["random"](names)) == sorted(names)


def test_unknown_settings_name_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'forward'"):
        WeightMatching(order="foward")
    with pytest.raises(UsageError, match="Did you mean 'inward'"):
        WeightMatching(start="inwards")
    with pytest.raises(UsageError, match="Did you mean 'outputs'"):
        WeightMatching(scale="output")


def test_what_units_say_to_few_outputs_counts_beside_what_many_of_them_read():
    """Outgoing weights are copies, incoming ones independent: the plain sum is drowned, the negative control."""
    generator = torch.Generator().manual_seed(0)
    model = tiny_mlp((60, 150, 20))
    spec = find_symmetries(model, torch.zeros(1, 60))
    a, b = ({key: torch.randn(t.shape, generator=generator) for key, t in model.state_dict().items()} for _ in range(2))
    b |= {key: tensor for key, tensor in a.items() if tensor.shape[0] == 20}
    found = {scale: align(a, b, spec, method=WeightMatching(scale=scale)).permutation for scale in ("outputs", "plain")}
    right = {scale: int((perm[spec.groups[0].name] == np.arange(150)).sum()) for scale, perm in found.items()}
    assert right["outputs"] > 140 and right["plain"] < 60


@pytest.mark.parametrize(
    ("name", "scale"), [("mlp", "outputs"), ("lstm", "outputs"), ("rnn", "plain"), ("attention", "plain")]
)
def test_chains_of_layers_are_told_from_streams(name, scale):
    _, spec, a, b, _ = planted(name)
    auto, asked = (align(a, b, spec, method=f"weights?restarts=2{extra}") for extra in ("", f"&scale={scale}"))
    assert f"&scale={scale}" in auto.method and auto.objective == asked.objective


class Raw(nn.Module):
    """A residual stream whose matrices are parameters of one module."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(2, 6))
        self.up, self.down = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(6, 5))

    def forward(self, x):
        x = x @ self.first.T
        return (x + torch.relu(x @ self.up.T) @ self.down.T) @ self.last.T


class Embedded(nn.Module):
    """The table makes units along its second dimension: its rows are no outputs."""

    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(50, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.table(x))


@pytest.mark.parametrize(("network", "x"), [(Raw(), torch.zeros(1, 4)), (Embedded(), torch.zeros(1, 2).long())])
def test_what_is_no_chain_keeps_the_plain_sum(network, x):
    spec = find_symmetries(network, x)
    result = align(network.state_dict(), network.state_dict(), spec, method="weights?restarts=1")
    assert spec.groups and "&scale=plain" in result.method


def test_small_networks_are_started_more_often_where_starts_end_apart():
    model, large = tiny_mlp((6, 8, 7, 3)), tiny_mlp((200, 200, 200, 5))
    spec = find_symmetries(model, torch.zeros(1, 6))
    state = model.state_dict()
    hard = align(state, tiny_mlp((6, 8, 7, 3), seed=1).state_dict(), spec, method=WeightMatching())
    assert len(hard.restarts) == 64 and "restarts=64&" in hard.method
    planted = align(state, planted_pair(state, spec, seed=1)[0], spec, method=WeightMatching())
    assert len(planted.restarts) == 8
    b = tiny_mlp((200, 200, 200, 5), seed=1).state_dict()
    plain = align(large.state_dict(), b, find_symmetries(large, torch.zeros(1, 200)), method=WeightMatching())
    assert len(plain.restarts) == 8 and len(set(plain.restarts)) > 1


def test_in_a_composition_it_starts_where_the_first_ended():
    """One sweep from the best of all permutations leaves it there; from nothing it would not get back."""
    small = tiny_mlp((3, 4, 3, 2))
    spec = find_symmetries(small, torch.zeros(1, 3))
    a, b = small.state_dict(), tiny_mlp((3, 4, 3, 2), seed=1).state_dict()
    best = align(a, b, spec, method=WeightMatching(restarts=16))
    again = align(a, best.apply(b), spec, method=WeightMatching(restarts=1).continued())
    assert again.objective == best.objective
    assert all(np.array_equal(perm, np.arange(len(perm))) for perm in again.permutation.values())


def test_half_precision_weights_stay_as_they_are_and_sums_are_wide():
    """Above the size of float64 products: tensors are widened where they are multiplied."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1500, 1000), torch.nn.ReLU(), torch.nn.Linear(1000, 600)).eval()
    spec = find_symmetries(model, torch.zeros(1, 1500))
    a = {key: torch.randn(t.shape, generator=generator).half() for key, t in model.state_dict().items()}
    b, answer = planted_pair(a, spec, seed=0)
    problem = Problem(a, b, spec)
    assert problem.dtype == torch.float32 and all(tensor.dtype == torch.float16 for tensor in problem.a.values())
    result = align(a, b, spec, method=WeightMatching(restarts=1, scale="plain"))
    assert all(np.array_equal(result.permutation[key], perm) for key, perm in answer.items())
    expected = sum(float((a[key].double() * tensor.double()).sum()) for key, tensor in result.apply(b).items())
    assert result.objective == pytest.approx(expected, rel=1e-12)


def test_restarts_take_all_starts_in_turn():
    model = tiny_mlp((6, 8, 7, 3))
    spec = find_symmetries(model, torch.zeros(1, 6))
    a, b = model.state_dict(), tiny_mlp((6, 8, 7, 3), seed=1).state_dict()
    few, many = (align(a, b, spec, method=WeightMatching(restarts=n)) for n in (3, 7))
    assert many.restarts[:3] == few.restarts
    assert len(set(many.restarts)) > 1
