"""The small trainer: reproducible, without side effects, and telling the file what it did."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lmc._errors import DatasetError, UsageError
from lmc.architectures import fit_state, resolve
from lmc.checkpoints import load, save
from lmc.datasets import Normalization, as_data, open_data
from lmc.evaluation import evaluate_state
from lmc.training import train, train_checkpoint

DEMO = Path(__file__).parents[2] / "data"


def spirals(count=90, **about):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    x = torch.randn(count, 2, generator=generator) * 0.3 + torch.nn.functional.one_hot(y, 3)[:, :2] * 2.0
    return as_data((x, y), name="blobs", **about)


def net(seed=0, **options):
    text = "&".join(f"{key}={value}" for key, value in options.items())
    return resolve(f"mlp?widths=2,16,3&{text}".rstrip("&"), seed=seed).module


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns():
    result = train(net(), spirals(), epochs=30, lr=0.01)
    losses = [epoch["train_loss"] for epoch in result.history]
    assert losses[-1] < 0.3 * losses[0]
    assert evaluate_state(net(), result.state, spirals()).accuracy[0] > 0.95


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_equal_seeds_give_equal_weights_and_others_do_not(optimizer):
    first, same, other = (train(net(), spirals(), epochs=2, optimizer=optimizer, seed=s).state for s in (1, 1, 2))
    assert equal(first, same)
    assert not equal(first, other)


def test_dropout_is_seeded_too():
    module = nn.Sequential(nn.Linear(2, 16), nn.Dropout(), nn.Linear(16, 3))
    one, two, three = (train(module, spirals(), epochs=1, batch_size=90, seed=s).state for s in (1, 1, 2))
    assert equal(one, two)
    assert not equal(one, three), "one full batch: only dropout can differ"


def test_neither_the_module_nor_the_global_random_state_is_touched():
    module = net().eval()
    before, state = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    train(module, spirals(), epochs=1)
    assert equal(before, module.state_dict())
    assert torch.equal(state, torch.get_rng_state())
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())


def test_it_starts_from_the_weights_it_is_given():
    module = net()
    assert equal(train(module, spirals(), epochs=0).state, module.state_dict())
    assert train(module, spirals(), epochs=0).history == ()


def test_every_example_counts_once_in_the_epochs_loss():
    """With a learning rate that changes nothing, the epoch's loss is the plain mean, ragged last batch and all."""
    module, data = net(), spirals()
    result = train(module, data, epochs=1, batch_size=32, lr=1e-30, optimizer="sgd")
    plain = evaluate_state(module, module.state_dict(), data).loss[0]
    assert result.history[0]["train_loss"] == pytest.approx(plain, rel=1e-5)


def test_one_example_left_over_does_not_stop_batchnorm():
    result = train(net(norm="batch"), spirals(91), epochs=1, batch_size=30)
    assert result.settings["steps"] == 3
    assert int(result.state["bn1.num_batches_tracked"]) == 3


def test_the_normalisation_of_the_data_is_applied():
    plain = spirals()
    x, y = next(plain.batches(1000))
    shifted = as_data((x * 4 + 7, y), normalization=Normalization((7.0,), (4.0,)))
    one, two = (train(net(), data, epochs=2).state for data in (plain, shifted))
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-3, rtol=1e-3)


def test_schedules_reach_the_optimizer():
    constant = train(net(), spirals(), epochs=3, lr=0.1, schedule="none").history
    assert [epoch["lr"] for epoch in constant] == [0.1, 0.1, 0.1]
    cosine = train(net(), spirals(), epochs=4, lr=0.1, batch_size=90).history
    assert [epoch["lr"] for epoch in cosine] == pytest.approx(
        [0.05 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    )


def test_the_callback_gets_copies_of_every_epoch():
    seen = {}
    result = train(net(), spirals(), epochs=3, callback=seen.__setitem__)
    assert list(seen) == [1, 2, 3]
    assert equal(seen[3], result.state)
    assert not equal(seen[1], seen[2])


def test_progress_counts_every_step():
    class Bar:
        steps = 0

        def __init__(self, total, desc):
            Bar.total = total

        def __enter__(self):
            return self

        def __exit__(self, *error): ...

        def update(self, n=1):
            Bar.steps += n

    train(net(), spirals(), epochs=2, batch_size=40, progress=Bar)
    assert Bar.steps == Bar.total == 6


def test_ties_survive(tmp_path):
    (tmp_path / "t.txt").write_text("to be or not to be " * 40)
    data = open_data(f"text:{tmp_path / 't.txt'}?block=16", "train")
    built = resolve("gpt?dim=16&heads=2&depth=1", input_shape=data.input_shape, num_classes=data.num_classes)
    result = train(built.module, data, epochs=8)
    state = result.state
    assert state["lm_head.weight"] is state["transformer.wte.weight"]
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "adm"}, r"Did you mean 'adam'\?"),
        ({"schedule": "cosin"}, r"Did you mean 'cosine'\?"),
        ({"epochs": -1}, "epochs=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": 0}, "lr=0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": 1e20, "optimizer": "sgd", "epochs": 20}, "diverged.*Lower lr"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        train(net(), spirals(), **options)


def test_streams_are_refused():
    with pytest.raises(DatasetError, match="in memory"):
        train(net(), as_data([(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))]))


def test_a_trained_file_needs_no_further_word(tmp_path):
    train_data, test_data = open_data("digits?mean=0.3&std=0.4", "train"), open_data("digits?mean=0.3&std=0.4")
    built = resolve("mlp?width=8&activation=tanh", input_shape=(1, 8, 8), num_classes=10, seed=5)
    result, about = train_checkpoint(built.module, built.reference, train_data, test_data, epochs=3, seed=5)
    checkpoint = load(save(result.state, tmp_path / "m.safetensors", {"lmc": about}))
    assert checkpoint.metadata["lmc"] == about, "plain values only: nothing changes on the way through JSON"

    found = resolve(None, checkpoint)
    assert found.reference == built.reference and found.input_shape == (1, 8, 8)
    data = open_data(about["data"])
    assert about["normalization"] == {"mean": [0.3], "std": [0.4]} and data.normalization == Normalization(
        (0.3,), (0.4,)
    )
    state = fit_state(checkpoint.state, found.module, "m")
    assert evaluate_state(found.module, state, data).accuracy[0] == pytest.approx(about["test_accuracy"])
    assert about["training"]["seed"] == 5 and about["training"]["optimizer"] == "adam"
    assert about["data_digest"] == train_data.digest
    assert about["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("name", ["mlp-1", "mlp-2", "cnn-bn-1", "cnn-bn-2"])
def test_the_demo_checkpoints_are_what_their_readme_says(name):
    path = DEMO / "checkpoints" / f"{name}.safetensors"
    row = re.search(rf"\| {path.name} \| ([\d,]+) \| ([\d.]+) \| `(\w+)` \|", (DEMO / "README.md").read_text())
    assert row is not None
    size, percent, digest = row.groups()
    assert path.stat().st_size == int(size.replace(",", ""))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    checkpoint = load(path)
    data = open_data(checkpoint.metadata["lmc"]["data"])
    found = resolve(None, checkpoint, input_shape=data.input_shape, num_classes=data.num_classes)
    accuracy = evaluate_state(found.module, fit_state(checkpoint.state, found.module, name), data).accuracy[0]
    assert 100 * accuracy == pytest.approx(float(percent), abs=0.21), "one image of 500, on another processor"
