"""Barycenters of layers that read themselves: the objective falls, hidden permutations are found, widths may differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lmc import align, find_symmetries, fuse
from lmc._errors import UsageError
from lmc.fusion.fused_gw import Pairing, Target, Units, barycenter, objective, transported
from lmc.testing import planted_pair, tiny_mlp


class Reader(nn.Module):
    """A recurrent network over few features, so that its rows alone say little."""

    def __init__(self, kind: type[nn.RNNBase], hidden: int = 16, features: int = 2, **options: bool | int) -> None:
        super().__init__()
        self.rnn = kind(features, hidden, batch_first=True, **options)
        self.head = nn.Linear(hidden * (1 + bool(options.get("bidirectional"))), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def reader(kind: type[nn.RNNBase], hidden: int = 16, features: int = 2, **options: bool | int):
    """Return a network, its spec and its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Reader(kind, hidden, features, **options).eval()
    spec = find_symmetries(model, torch.randn(2, 5, features, generator=torch.Generator().manual_seed(0)))
    return model, spec, {key: tensor.clone() for key, tensor in model.state_dict().items()}


def found(result, answer: dict) -> float:
    """Return the share of units that are back where they came from."""
    permutation = result.permutation(1)
    return float(np.mean(np.concatenate([permutation[name] == perm for name, perm in answer.items()])))


def units_of(sizes: tuple[int, ...], kinds: int, alpha: float, seed: int, *, bare: bool = False) -> Units:
    """Return random features and relations."""
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((size, 3)) for size in sizes]
    gram = [] if bare else [[one @ other.T for other in rows] for one in rows]
    squares = [] if bare else [(one**2).sum(1) for one in rows]
    relations = [rng.standard_normal((kinds, size, size)) for size in sizes]
    mix = rng.dirichlet(np.ones(len(sizes)))
    return Units(gram, squares, relations, alpha, tuple(mix))


layers = st.builds(
    units_of,
    st.lists(st.integers(1, 6), min_size=2, max_size=3).map(tuple),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.3, 3.0]),
    st.integers(0, 10_000),
    bare=st.booleans(),
)


@settings(max_examples=15, deadline=None)
@given(units=layers, size=st.integers(1, 6), seed=st.integers(0, 100))
def test_the_objective_never_rises_and_is_that_of_the_end(units: Units, size: int, seed: int):
    rng = np.random.default_rng(seed)
    target = Target.copy(units, 0, rng.integers(0, units.sizes[0], size))
    plans = [transported(rng.random((size, other))) for other in units.sizes]
    result = barycenter(units, target, plans)
    steps = np.diff(result.trace)
    assert (steps <= 1e-9 * max(1.0, abs(result.trace[0]))).all(), result.trace
    np.testing.assert_allclose(result.objective, objective(units, result.target, result.plans), rtol=1e-9, atol=1e-12)
    for plan, other in zip(result.plans, units.sizes, strict=True):
        np.testing.assert_allclose(plan.sum(1), 1 / size, atol=1e-9)
        np.testing.assert_allclose(plan.sum(0), 1 / other, atol=1e-9)


def test_whole_steps_do_raise_it():
    """Why steps are damped: the plain fixed point of the published algorithm goes up as often as not."""
    risen = 0
    for seed in range(20):
        units = units_of((7, 7), 1, 3.0, seed)
        pairing = Target.copy(units, 0, np.arange(7)).pairing(units, 1)
        plan = transported(pairing.cost)
        values = [pairing.value(plan)]
        for _ in range(5):
            one, other = pairing._sides(plan)
            plan = transported(pairing.cost - 2 * pairing.alpha * (one + other))
            values.append(pairing.value(plan))
        risen += max(np.diff(values)) > 1e-9
    assert risen >= 5


@settings(max_examples=10, deadline=None)
@given(units=layers, seed=st.integers(0, 100))
def test_closed_forms_equal_the_definition_with_four_indices(units: Units, seed: int):
    rng = np.random.default_rng(seed)
    size = units.sizes[1]
    here, there = rng.standard_normal((2, 3, 3)), rng.standard_normal((2, size, size))
    pairing = Pairing(rng.random((3, size)), here, there, 0.7)
    plan = transported(rng.random((3, size)))
    apart = (here[:, :, None, :, None] - there[:, None, :, None, :]) ** 2  # kind, j, g, a, b
    bent = np.einsum("kjgab,jg,ab->", apart, plan, plan)
    np.testing.assert_allclose(pairing.value(plan), (pairing.cost * plan).sum() + 0.7 * bent, atol=1e-9)
    # The gradient is the cost of both sides, up to what marginals fix.
    slope = np.einsum("kjgab,ab->jg", apart, plan) + np.einsum("kabjg,ab->jg", apart, plan)
    one, other = pairing._sides(plan)
    rest = slope + 2 * (one + other)
    np.testing.assert_allclose(rest - rest[:, :1] - rest[:1] + rest[0, 0], 0, atol=1e-9)


NETWORKS = {
    "rnn": (nn.RNN, {}),
    "gru, two layers": (nn.GRU, {"num_layers": 2}),
    "lstm, two layers, two directions": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_noised_hidden_permutation_is_found_where_rows_alone_fail(name: str):
    kind, options = NETWORKS[name]
    _, spec, a = reader(kind, hidden=24, features=1, bias=False, **options)
    shares: dict[str, list[float]] = {"gwb": [], "gwb?alpha=0&starts=1": []}
    for seed in range(2):
        b, answer = planted_pair(a, spec, noise=0.9, seed=seed)
        for method, values in shares.items():
            values.append(found(fuse([a, b], spec, method=method), answer))
    both, rows = (float(np.mean(values)) for values in shares.values())
    assert both >= 0.97 and rows <= 0.8, shares


@pytest.mark.parametrize("name", NETWORKS)
def test_doubled_widths_keep_the_function(name: str):
    kind, options = NETWORKS[name]
    model, spec, a = reader(kind, hidden=5, **options)
    wide, target, _ = reader(kind, hidden=10, **options)
    result = fuse([a], spec, target=target, method="gwb?starts=1")
    wide.load_state_dict(result.state)
    x = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(wide(x), model(x), rtol=1e-5, atol=1e-5)
    # The mean-field read-out is another network.
    wide.load_state_dict(fuse([a], spec, target=target, method="gwb?starts=1&normalize=mean-field").state)
    assert (wide(x) - model(x)).abs().max() > 1e-3


def test_layers_that_do_not_read_themselves_are_compared_by_distances():
    model = tiny_mlp((6, 12, 11, 3))
    spec = find_symmetries(model, torch.zeros(1, 6))
    b, answer = planted_pair(model.state_dict(), spec, noise=0.1, seed=3)
    assert found(fuse([model.state_dict(), b], spec, method="gwb"), answer) == 1.0


def test_hidden_states_find_it_and_networks_of_other_widths_meet():
    model, spec, a = reader(nn.LSTM, hidden=8, num_layers=2)
    x = torch.randn(40, 5, 2, generator=torch.Generator().manual_seed(3))
    given = {"data": (x, torch.zeros(40, dtype=torch.int64)), "modules": model}
    b, answer = planted_pair(a, spec, noise=0.1, seed=0)
    assert found(fuse([a, b], spec, method="gwb?on=activations&starts=2", **given), answer) == 1.0
    with pytest.raises(UsageError, match="data="):
        fuse([a, b], spec, method="gwb?on=activations")
    # Into a third width, each network run by its own module.
    other, wider, c = reader(nn.LSTM, hidden=6, num_layers=2)
    third, target, _ = reader(nn.LSTM, hidden=7, num_layers=2)
    for method in ("gwb?on=activations&starts=1", "gwb?starts=1"):
        result = fuse(
            [a, c], [spec, wider], target=target, method=method, **{**given, "modules": [model, other], "module": third}
        )
        third.load_state_dict(result.state)
        assert result.couplings[1]["rnn.weight_ih_l0"].plan.shape == (1, 7, 6)
        assert all(torch.isfinite(tensor).all() for tensor in result.state.values())


def test_the_permutation_it_implies_aligns():
    _, spec, a = reader(nn.GRU, hidden=12, features=1)
    b, answer = planted_pair(a, spec, noise=0.1, seed=4)
    aligned = align(a, b, spec, method="gwb?starts=2")
    assert all(np.array_equal(aligned.permutation[name], perm) for name, perm in answer.items())
    assert aligned.rounding_loss == 0.0 and aligned.citation


def test_networks_are_left_alone_and_the_seed_decides():
    _, spec, a = reader(nn.RNN)
    b, _ = planted_pair(a, spec, noise=2.0, seed=0)
    kept = [{key: tensor.clone() for key, tensor in one.items()} for one in (a, b)]
    runs = [fuse([a, b], spec, method="gwb?starts=3", seed=5) for _ in range(2)]
    for one, before in zip((a, b), kept, strict=True):
        assert all(torch.equal(tensor, before[key]) for key, tensor in one.items())
    assert all(torch.equal(runs[0].state[key], runs[1].state[key]) for key in a)
    assert runs[0].seed == 5 and runs[0].converged and runs[0].method.endswith("seed=5")


@pytest.mark.parametrize("option", ["alpha=-1", "alpha=much", "starts=0", "normalize=none", "alpah=1"])
def test_settings_that_make_no_sense_are_refused(option: str):
    _, spec, a = reader(nn.RNN)
    with pytest.raises(UsageError):
        fuse([a, a], spec, method=f"gwb?{option}")
