"""Children of one parent: what they share with it, and what they do not."""

from __future__ import annotations

import pytest
import torch

from lmc._errors import UsageError
from lmc.architectures import resolve
from lmc.datasets import as_data
from lmc.training import train, train_children

SGD = {"optimizer": "sgd", "lr": 0.1, "epochs": 4, "batch_size": 30}
TOTAL = 12


def blobs(count: int = 90):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    x = torch.randn(count, 2, generator=generator) * 0.3 + torch.nn.functional.one_hot(y, 3)[:, :2] * 2.0
    return as_data((x, y), name="blobs")


def net():
    return resolve("mlp?widths=2,16,3&norm=batch", seed=0).module


def equal(a, b):
    return set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_children_that_leave_at_once_are_runs_and_those_that_stay_are_the_parent(optimizer: str):
    options = {**SGD, "optimizer": optimizer}
    module, before = net(), torch.get_rng_state()
    found = train_children(module, blobs(), branch_steps=(0, 5, TOTAL), children=(1, 2), seed=7, **options)
    assert [(child.step, child.seed) for child in found] == [(k, c) for k in (0, 5, TOTAL) for c in (1, 2)]
    for child in found[:2]:
        assert equal(child.state, train(net(), blobs(), seed=child.seed, **options).state)
    for child in found[-2:]:
        assert equal(child.state, train(net(), blobs(), seed=7, **options).state)
    assert not equal(found[2].state, found[3].state)
    assert equal(module.state_dict(), net().state_dict()), "the module of the caller stays"
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_state_of_the_optimizer_and_the_schedule_are_inherited(optimizer: str):
    # With all examples in one batch their order does not matter: wherever a child leaves, it ends where others do.
    options = {**SGD, "optimizer": optimizer, "batch_size": 90, "epochs": 8, "lr": 0.01}
    module = resolve("mlp?widths=2,16,3", seed=0).module
    children = train_children(module, blobs(), branch_steps=(0, 3, 8), children=(1,), **options)
    for child in children[1:]:
        for key, tensor in children[0].state.items():
            torch.testing.assert_close(child.state[key], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"branch_steps": (13,)}, r"branch_steps=\[13\]: training has 12 steps"),
        ({"branch_steps": ()}, "name some from 0 to 12"),
        ({"branch_steps": (0,), "learning_rate": 1}, "has no option learning_rate"),
    ],
)
def test_wrong_settings_are_refused_before_training(given: dict, words: str):
    with pytest.raises(UsageError, match=words):
        train_children(net(), blobs(), **{**SGD, **given})
