"""Methods that learn from the loss between A and B: held against every permutation, reproducible, nothing changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from known import known
from torch import nn

from lmc._errors import InputError, UsageError
from lmc.alignment import SimulatedAnnealing, SinkhornRebasin, StraightThrough, align
from lmc.alignment.midpoint import Between
from lmc.datasets import Normalization, as_data
from lmc.evaluation.evaluate import evaluate_state
from lmc.interpolation import LinearPath, reset_batchnorm
from lmc.symmetry import find_symmetries
from lmc.testing import fake_classification, planted_pair, tiny_cnn, tiny_mlp

SMALL = tiny_mlp((3, 4, 3, 2))
SPEC = find_symmetries(SMALL, torch.zeros(1, 3))
DATA = as_data(fake_classification((3,), 2, examples=64))
# Twice the weights: differences between permutations that are worth finding.
A, B = ({key: 2 * t for key, t in tiny_mlp((3, 4, 3, 2), seed=seed).state_dict().items()} for seed in (0, 1))
LEARNED = [
    SinkhornRebasin(start="same", steps=100, batch_size=64),
    SinkhornRebasin(start="same", cost="random", steps=100, batch_size=64),
    StraightThrough(steps=60, lr=0.05, batch_size=64),
    SimulatedAnnealing(steps=400),
]


def midpoint_loss(a, b, data=DATA, module=SMALL) -> float:
    return float(evaluate_state(module, LinearPath(a, b).at(0.5), data).loss[0])


def every_permutation():
    names = [group.name for group in SPEC.groups]
    for pair in itertools.product(itertools.permutations(range(4)), itertools.permutations(range(3))):
        yield dict(zip(names, map(np.array, pair), strict=True))


@pytest.mark.parametrize(
    ("method", "rank"),
    [
        (SinkhornRebasin(start="same", steps=60, batch_size=64, noise=1.0, restarts=8), 0),
        (StraightThrough(steps=100, lr=0.1, batch_size=64), 36),
        (LEARNED[3], 0),
    ],
)
def test_it_finds_the_best_of_all_permutations_or_nearly(method, rank):
    """All 144 midpoints between a network and a noisy, permuted copy, on labels of its own, measured directly: the
    lowest is found; straight-through estimation, which sees what lies near its free weights, gets to the lowest
    quarter."""
    a = {key: 3 * tensor for key, tensor in A.items()}
    b, _ = planted_pair(a, SPEC, noise=0.3, seed=4)
    inputs = DATA.inputs
    data = as_data((inputs, torch.func.functional_call(SMALL, a, (inputs,)).argmax(1)), num_classes=2)
    losses = sorted(midpoint_loss(a, SPEC.apply(b, one), data) for one in every_permutation())
    result = align(a, b, SPEC, method=method, data=data, module=SMALL)
    assert result.objective == pytest.approx(midpoint_loss(a, result.apply(b), data), rel=1e-5)
    assert result.objective <= losses[rank] + 1e-6
    assert losses[0] < 0.7 * losses[len(losses) // 2]


@pytest.mark.parametrize("method", LEARNED, ids=lambda m: f"{type(m).__name__} {getattr(m, 'cost', '')}")
def test_it_is_never_worse_than_the_start_and_reproducible(method):
    one, two = (align(A, B, SPEC, method=method, data=DATA, module=SMALL) for _ in range(2))
    assert one.objective == two.objective <= one.trace[0]
    assert all(np.array_equal(one.permutation[name], two.permutation[name]) for name in one.permutation)
    assert np.isfinite(one.trace).all()
    assert "lower is better" in one.objective_name
    assert one.citation


def test_nothing_of_the_callers_is_changed():
    cnn = tiny_cnn()
    cnn.train()
    spec = find_symmetries(cnn.eval(), torch.zeros(2, 1, 8, 8))
    cnn.train()
    a, b = (tiny_cnn(seed=seed).state_dict() for seed in (0, 1))
    before = [{key: t.clone() for key, t in state.items()} for state in (a, b, cnn.state_dict())]
    torch.manual_seed(3)
    drawn = torch.random.get_rng_state()
    data = fake_classification((1, 8, 8))
    for method in (SinkhornRebasin(steps=3), StraightThrough(steps=3), SimulatedAnnealing(steps=3)):
        align(a, b, spec, method=method, data=data, module=cnn)
    for state, kept in zip((a, b, cnn.state_dict()), before, strict=True):
        assert all(torch.equal(state[key], kept[key]) for key in kept)
    assert cnn.training and all(parameter.grad is None for parameter in cnn.parameters())
    assert torch.equal(torch.random.get_rng_state(), drawn)


def test_batchnorm_uses_the_statistics_of_the_batch():
    """As a reset on the same examples would: the running ones of the ends are not averaged."""
    a, b = (tiny_cnn(seed=seed).state_dict() for seed in (0, 1))
    data = as_data(fake_classification((1, 8, 8)))
    between = Between(tiny_cnn(), a, data, batch_size=64, seed=0, examples=64)
    middle = LinearPath(a, b).at(0.5)
    reset = float(evaluate_state(tiny_cnn(), reset_batchnorm(tiny_cnn(), middle, data), data).loss[0])
    plain = float(evaluate_state(tiny_cnn(), middle, data).loss[0])
    # A reset stores the unbiased variance, a batch is normalised by the biased one.
    assert between.loss(b) == pytest.approx(reset, rel=2e-3)
    assert abs(plain - reset) > 0.02 * reset


class Viewed(nn.Module):
    """Flattens by ``view``, which takes no outputs that lie channels last."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Linear(64, 3)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x)))
        return self.fc(x.view(x.size(0), -1))


@pytest.mark.parametrize(("network", "channels_last"), [(Viewed(), False), (tiny_cnn(), True)])
def test_images_run_channels_last_where_the_network_takes_them(network, channels_last):
    data = as_data(fake_classification((1, 8, 8), 3))
    between = Between(network, network.state_dict(), data, batch_size=16, seed=0, examples=64)
    assert between._channels_last == channels_last
    assert np.isfinite(between.loss(network.state_dict()))


@pytest.mark.parametrize(("examples", "options"), [(2, ""), (5, "&batch_size=1")])
def test_few_examples_are_enough(examples, options):
    data = tuple(part[:examples] for part in fake_classification((3,), 2))
    assert align(A, B, SPEC, method=f"sinkhorn?steps=3{options}", data=data, module=SMALL).objective > 0


def test_inputs_are_normalised():
    inputs, targets = fake_classification((3,), 2)
    constants = Normalization((0.5,), (0.1,))
    data = as_data((inputs, targets), normalization=constants)
    between = Between(SMALL, A, data, batch_size=16, seed=0, examples=64)
    assert between.loss(B) == pytest.approx(midpoint_loss(A, B, data), rel=1e-6)
    assert between.loss(B) != pytest.approx(midpoint_loss(A, B, as_data((inputs, targets))), rel=1e-3)


def test_streamed_data_serve_as_well():
    class Pairs:
        def __iter__(self):
            yield from zip(*(part.split(16) for part in fake_classification((3,), 2)), strict=True)

    method = SinkhornRebasin(steps=5, batch_size=16)
    assert align(A, B, SPEC, method=method, data=Pairs(), module=SMALL).objective > 0


@pytest.mark.parametrize("name", ["tied embedding", "lstm", "grouped queries", "heads first", "group norm"])
def test_every_kind_of_network_is_learned_on(name):
    model, state, spec = known(name)
    b, _ = planted_pair(state, spec, noise=0.0 if name == "tied embedding" else 0.3, seed=1)
    case_inputs = {"tied embedding": torch.arange(32).reshape(8, 4) % 11, "group norm": torch.randn(8, 2, 6, 6)}
    inputs = case_inputs.get(name, torch.linspace(-1, 1, 96).reshape(8, 4, 3))
    targets = inputs if name == "tied embedding" else torch.arange(8) % 2
    for method in (SinkhornRebasin(steps=4), StraightThrough(steps=2), SimulatedAnnealing(steps=4)):
        result = align(state, b, spec, method=method, data=(inputs, targets), module=model)
        assert result.objective <= result.trace[0]


def test_the_distance_needs_no_data_and_finds_a_planted_permutation():
    model = tiny_mlp((6, 8, 7, 3))
    spec = find_symmetries(model, torch.zeros(1, 6))
    b, answer = planted_pair(model.state_dict(), spec, noise=0.1, seed=2)
    result = align(model.state_dict(), b, spec, method="sinkhorn?cost=distance&start=same&steps=200")
    assert all(np.array_equal(result.permutation[name], perm) for name, perm in answer.items())
    aligned, a = result.apply(b), model.state_dict()
    # The last layer's bias is moved by nothing, and no part of it.
    expected = sum(float((a[key].double() - aligned[key].double()).square().sum()) for key in a if key != "4.bias")
    assert result.objective == pytest.approx(expected, rel=1e-9)


def test_it_starts_where_weight_matching_puts_b():
    """As the composition of the two does; from B as it is, the negative control, it starts elsewhere."""
    placed = align(A, B, SPEC, method="weights").apply(B)
    asked = ("sinkhorn?steps=20", "weights+sinkhorn?steps=20", "sinkhorn?steps=20&start=same")
    one, composed, plain = (align(A, B, SPEC, method=m, data=DATA, module=SMALL) for m in asked)
    assert one.trace[0] == pytest.approx(midpoint_loss(A, placed), rel=1e-6)
    assert one.trace == composed.trace
    assert all(np.array_equal(one.permutation[name], composed.permutation[name]) for name in one.permutation)
    assert one.objective == pytest.approx(midpoint_loss(A, one.apply(B)), rel=1e-6)
    assert plain.trace[0] == pytest.approx(midpoint_loss(A, B), rel=1e-6)
    assert plain.trace[0] != pytest.approx(one.trace[0], rel=1e-3)


def test_the_soft_gap_is_told():
    message = align(A, B, SPEC, method=LEARNED[0], data=DATA, module=SMALL).message
    assert "rounded" in message and "soft (gap" in message


def test_more_starts_are_never_worse():
    one, many = (
        align(A, B, SPEC, method=SinkhornRebasin(steps=20, batch_size=64, restarts=n), data=DATA, module=SMALL)
        for n in (1, 3)
    )
    assert many.objective == min(many.restarts) <= one.objective
    assert len(many.restarts) == 3


@pytest.mark.parametrize("name", ["sinkhorn", "ste", "annealing"])
def test_without_data_or_a_network_the_fix_is_told(name):
    with pytest.raises(UsageError, match=r"pass data= and module="):
        align(A, B, SPEC, method=name)
    with pytest.raises(UsageError, match=r"pass module="):
        align(A, B, SPEC, method=name, data=DATA)


def test_large_networks_are_refused_by_annealing():
    with pytest.raises(UsageError, match=r"have 7 \(limit=5\).*sinkhorn"):
        align(A, B, SPEC, method="annealing?limit=5", data=DATA, module=SMALL)


def test_a_loss_that_is_no_number_is_an_error():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny_mlp((3, 4, 2))

        def forward(self, x):
            return torch.log(self.inner(x) - 1e6)

    a, b = Broken().state_dict(), Broken().state_dict()
    spec = find_symmetries(Broken(), torch.zeros(1, 3))
    with pytest.raises(InputError, match="loss between A and B is nan"):
        align(a, b, spec, method="sinkhorn", data=DATA, module=Broken())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("sinkhorn?cost=midpiont", "Did you mean 'midpoint'"),
        ("sinkhorn?lr=0", "lr must be above 0"),
        ("sinkhorn?steps=0", "steps must be a whole number from 1 up"),
        ("sinkhorn?straight=2", "a share between 0 and 1"),
        ("ste?lr=-1", "lr must be above 0"),
        ("annealing?temperature=-1", "temperature must be 0 or more"),
        ("frank-wolfe?restarts=0", "restarts must be a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text, word):
    with pytest.raises(UsageError, match=word):
        align(A, B, SPEC, method=text, data=DATA, module=SMALL)


@pytest.mark.shared
def test_the_public_pair_is_brought_together(shared_data):
    """784-400-200-100-10 on MNIST: naive barrier 1.19, weight matching 0.05 to 0.07, a short run less."""
    from lmc.barriers import measure_barrier
    from lmc.checkpoints import load
    from lmc.datasets import open_data
    from lmc.pipeline import load_pair

    files = [shared_data / "checkpoints/otfusion-mnist-mlp" / f"{end}.checkpoint" for end in (0, 1)]
    train, test = (open_data("mnist", split, shared_data) for split in ("train", "test"))
    pair = load_pair(*map(load, files), input_shape=train.input_shape, num_classes=10)
    module, a, b = pair.a.architecture.module, pair.a.state, pair.b.state
    spec = find_symmetries(module, torch.zeros(2, *train.input_shape))
    result = align(a, b, spec, method="sinkhorn?steps=200", data=train, module=module)
    measured = measure_barrier(module, {"sinkhorn": LinearPath(a, result.apply(b))}, test, points=5)
    assert float(measured.loss_barrier.sel(baseline="chord")[0]) < 0.02
