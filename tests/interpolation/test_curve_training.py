"""Training a curve: the gradient of the plain way to write it, exact ends, and a lower loss between them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmc._errors import DatasetError, MismatchError, UsageError
from lmc.datasets import Normalization, as_data
from lmc.evaluation import evaluate_path
from lmc.interpolation import CURVES, LinearPath, train_curve
from lmc.testing import fake_classification, tiny_cnn, tiny_mlp
from lmc.training import SCHEDULES, train
from lmc.training.train import Steps

MODEL = tiny_mlp()
A, B = MODEL.state_dict(), tiny_mlp(seed=1).state_dict()
KINDS = pytest.mark.parametrize(("kind", "bends"), [("bezier", 3), ("bezier", 5), ("polygonal", 4)])


def data(count: int = 50, **about):
    return as_data(fake_classification((6,), examples=count), **about)


def equal(a, b) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def plain_loop(module, a, b, examples, kind, bends, *, steps, lr, batch_size, seed, position_seed):
    """Return the inner bends, by autograd through the sum of the bends, one tensor at a time, in float64."""
    network = copy.deepcopy(module).double()
    line = [{name: torch.lerp(a[name], b[name], k / (bends - 1)).double() for name in a} for k in range(bends)]
    inner = [{name: tensor.clone().requires_grad_() for name, tensor in bend.items()} for bend in line[1:-1]]
    optimizer = torch.optim.Adam([tensor for bend in inner for tensor in bend.values()], lr=lr)
    order = Steps(examples, batch_size, 99, torch.Generator().manual_seed(seed), torch.device("cpu"))
    feed = (batch for epoch in range(1, 100) for batch in order.epoch(epoch))
    positions = np.random.default_rng(position_seed)
    for step, (_, x, y) in zip(range(steps), feed, strict=False):
        weights = CURVES[kind].weights(positions.random(), bends).tolist()
        points = [line[0], *inner, line[-1]]
        state = {name: sum(w * point[name] for w, point in zip(weights, points, strict=True)) for name in a}
        optimizer.zero_grad()
        F.cross_entropy(torch.func.functional_call(network, state, (x.double(),)), y).backward()
        optimizer.param_groups[0]["lr"] = lr * SCHEDULES["cosine"](step / steps)
        optimizer.step()
    return inner


@KINDS
def test_the_bends_are_those_of_a_plain_autograd_loop(kind, bends) -> None:
    settings = {"steps": 12, "lr": 0.01, "batch_size": 20, "seed": 3}
    found = train_curve(MODEL, A, B, data(), kind=kind, bends=bends, **settings).path.bends[1:-1]
    expected, other = (plain_loop(MODEL, A, B, data(), kind, bends, position_seed=seed, **settings) for seed in (3, 4))
    for ours, theirs in zip(found, expected, strict=True):
        for name in A:
            torch.testing.assert_close(ours[name].double(), theirs[name].detach(), atol=1e-5, rtol=1e-4)
    # Other positions give other bends, so that the test can fail.
    assert not torch.allclose(found[0]["0.weight"].double(), other[0]["0.weight"], atol=1e-3)


@KINDS
def test_the_ends_are_the_solutions_themselves(kind, bends) -> None:
    kept = copy.deepcopy((MODEL.state_dict(), A, B))
    result = train_curve(MODEL, A, B, data(), kind=kind, bends=bends, steps=3)
    for t, state in ((0, A), (1, B)):
        assert equal(result.path.at(t), state)
    assert all(equal(now, before) for now, before in zip((MODEL.state_dict(), A, B), kept, strict=True))
    assert isinstance(result.path, CURVES[kind]) and len(result.path.bends) == bends
    assert len(result.losses) == 3 and np.isfinite(result.losses).all()
    assert result.settings["kind"] == kind and result.settings["schedule"] == "cosine"


def test_half_ends_stay_half_and_the_bends_between_are_single() -> None:
    a, b = ({name: tensor.half() for name, tensor in state.items()} for state in (A, B))
    path = train_curve(MODEL, a, b, data(), steps=2).path
    assert [bend["0.weight"].dtype for bend in path.bends] == [torch.float16, torch.float32, torch.float16]
    assert equal(path.at(0), {name: tensor.float() for name, tensor in a.items()})


def test_before_the_first_step_a_curve_is_the_line() -> None:
    for kind in CURVES:
        path = train_curve(MODEL, A, B, data(), kind=kind, bends=4, steps=1, lr=1e-30).path
        for t in (0.2, 0.5):
            for name in A:
                torch.testing.assert_close(path.at(t)[name], LinearPath(A, B).at(t)[name], atol=1e-6, rtol=1e-5)


def test_equal_seeds_give_equal_curves_and_others_do_not() -> None:
    module = nn.Sequential(nn.Linear(6, 8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 3))
    b = {name: tensor + 0.1 for name, tensor in module.state_dict().items()}
    one, same, other = (
        train_curve(module, module.state_dict(), b, data(), steps=4, seed=seed).path.bends[1] for seed in (1, 1, 2)
    )
    assert equal(one, same) and not equal(one, other)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_curve(MODEL, A, B, data(), steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_the_loss_between_two_solutions_falls() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = torch.randn(300, 6, generator=generator) + 2.5 * F.one_hot(y, 6)
    blobs = as_data((x, y))
    a, b = (train(tiny_mlp(seed=seed), blobs, epochs=30, lr=0.01).state for seed in (0, 1))
    t = np.linspace(0, 1, 9)
    straight = evaluate_path(MODEL, LinearPath(a, b), t, blobs).loss
    for kind in CURVES:
        curve = train_curve(MODEL, a, b, blobs, kind=kind, steps=400, lr=0.02).path
        loss = evaluate_path(MODEL, curve, t, blobs).loss
        ends = max(straight[0], straight[-1])
        assert loss.max() - ends < 0.2 * (straight.max() - ends), kind


def test_the_normalisation_of_the_data_is_applied() -> None:
    x, y = fake_classification((6,), examples=50)
    plain, shifted = as_data((x, y)), as_data((x * 4 + 7, y), normalization=Normalization((7.0,), (4.0,)))
    one, two = (train_curve(MODEL, A, B, examples, steps=5).losses for examples in (plain, shifted))
    np.testing.assert_allclose(one, two, rtol=1e-4)
    raw = train_curve(MODEL, A, B, as_data((x * 4 + 7, y)), steps=5).losses
    assert not np.allclose(one, raw, rtol=1e-3)


class Tied(nn.Module):
    """One tensor under two names, another that the forward pass does not use, and a counter."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.idle, self.last = nn.Linear(6, 6, bias=False), nn.Linear(2, 2), nn.Linear(6, 3)
        self.second = nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("calls", torch.tensor(seed))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x).relu()).relu())


def test_tied_unused_and_integer_tensors() -> None:
    a, b = Tied(1).state_dict(), Tied(2).state_dict()
    path = train_curve(Tied(0), a, b, data(), steps=5, lr=0.1).path
    middle = path.bends[1]
    assert middle["first.weight"].data_ptr() == middle["second.weight"].data_ptr()
    state = path.at(0.3)
    assert state["first.weight"] is state["second.weight"]
    assert not torch.allclose(middle["first.weight"], (a["first.weight"] + b["first.weight"]) / 2, atol=1e-3)
    torch.testing.assert_close(middle["idle.weight"], (a["idle.weight"] + b["idle.weight"]) / 2)
    assert int(middle["calls"]) == 1


def test_batchnorm_is_in_train_mode_and_its_statistics_at_the_bends_are_interpolated() -> None:
    module, other = tiny_cnn(), tiny_cnn(seed=1)
    a, b = module.state_dict(), other.state_dict()
    path = train_curve(module, a, b, as_data(fake_classification((1, 8, 8))), steps=3).path
    torch.testing.assert_close(path.bends[1]["1.running_var"], (a["1.running_var"] + b["1.running_var"]) / 2)
    far = {name: tensor + 100 if "running_mean" in name else tensor for name, tensor in a.items()}
    same = train_curve(module, far, b, as_data(fake_classification((1, 8, 8))), steps=3)
    assert torch.equal(path.bends[1]["0.weight"], same.path.bends[1]["0.weight"]), "statistics of the ends play no part"
    assert not module.training


def test_recurrent_layers_that_keep_flat_weights_are_trained() -> None:
    class Reader(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.rnn, self.last = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.rnn(x)[0][:, -1])

    a, b = Reader(0).state_dict(), Reader(1).state_dict()
    middle = train_curve(Reader(2), a, b, as_data(fake_classification((4, 2))), steps=5, lr=0.1).path.bends[1]
    assert all(not torch.allclose(middle[name], (a[name] + b[name]) / 2, atol=1e-3) for name in a)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "bezir"}, r"Did you mean 'bezier'\?"),
        ({"schedule": "cosin"}, r"Did you mean 'cosine'\?"),
        ({"bends": 2}, "bends=2 must be at least 3"),
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": 0}, "lr=0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": 1e30, "steps": 20}, r"diverged.*step \d+.*Lower lr"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words) -> None:
    with pytest.raises(UsageError, match=words):
        train_curve(MODEL, A, B, data(), **options)


def test_what_cannot_be_trained_on_or_between_is_refused() -> None:
    with pytest.raises(DatasetError, match="in memory"):
        train_curve(MODEL, A, B, as_data([fake_classification((6,))]))
    with pytest.raises(MismatchError, match=r"missing '0\.bias'"):
        train_curve(MODEL, A, {name: tensor for name, tensor in B.items() if name != "0.bias"}, data())


def test_progress_counts_every_step() -> None:
    counted = []

    class Bar:
        def __init__(self, total, desc):
            counted.append(total)

        def __enter__(self):
            return self

        def __exit__(self, *error): ...

        def update(self, n=1):
            counted.append(n)

    train_curve(MODEL, A, B, data(), steps=7, progress=Bar)
    assert counted == [7, *[1] * 7]
