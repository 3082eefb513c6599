"""Pairs that others trained: the published and measured midpoints, on networks and images that no test made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmc import pipeline
from lmc.datasets import AbstractData, open_data

pytestmark = pytest.mark.shared


def midpoints(shared: Path, a: str, b: str, data: str, align: list[str], examples: int | None = None) -> dict:
    """Return accuracy (%) and loss barrier of every alignment; on the first examples of the test split."""
    pair = pipeline.load_pair(
        *(shared / "checkpoints" / name for name in (a, b)), input_shape=(1, 28, 28), num_classes=10
    )
    limit = "" if examples is None else f"{'&' if '?' in data else '?'}limit={examples}"
    measured: AbstractData = open_data(data + limit, "test", shared)
    train = open_data(data, "train", shared)
    module = pair.a.architecture.module
    proof = pipeline.prove(module, pair.a.architecture.example_inputs(seed=0))
    result = pipeline.barrier(
        module, pair.a.state, pair.b.state, measured, align=align, align_data=train, proof=proof, points=3
    )
    found = {}
    for name in map(str, result.alignment.values):
        one = result.sel(alignment=name)
        found[name] = 100 * float(one.accuracy.sel(t=0.5)), float(one.loss_barrier.sel(baseline="chord"))
    return found


def test_otfusion_on_its_authors_pair_is_what_they_publish(shared_data):
    """Singh and Jaggi's own checkpoints; figures of their code, and of activation matching (Git Re-Basin)."""
    asked = ["ot?cost=euclidean", "ot?cost=sqeuclidean", "ot?on=activations", "activations", "weights"]
    names = (f"otfusion-mnist-mlp/{end}.checkpoint" for end in "01")
    found = midpoints(shared_data, *names, "mnist", asked)
    for name, published in zip(asked, (95.58, 95.32, 95.83), strict=False):
        assert found[name][0] == pytest.approx(published, abs=0.05), name
    assert found["activations"][1] <= 0.055 and found["weights"][1] <= 0.065


def test_hidden_states_align_recurrent_networks_better_than_weights(shared_data):
    found = midpoints(
        shared_data,
        "lstm-rows/a.ckpt",
        "lstm-rows/b.ckpt",
        "mnist?normalize=none",
        ["none", "activations?examples=1000", "weights"],
        2000,
    )
    assert found["none"][0] < 35
    assert found["activations?examples=1000"][0] > 86 and found["weights"][0] >= 86


@pytest.mark.parametrize(
    ("folder", "ends", "least"),
    [("cnn-bn-16-32", ("a.ckpt", "b.ckpt"), 97), ("lightning-mlp", ("a-pl1.6.ckpt", "b-pl2.1.ckpt"), 70)],
)
def test_small_networks_meet_by_their_weights(shared_data, folder, ends, least):
    """Git Re-Basin's plain sum leaves the first at 95.6 on these images, the negative control."""
    asked = ["none", "weights", "weights?scale=plain"]
    found = midpoints(shared_data, *(f"{folder}/{end}" for end in ends), "mnist?normalize=none", asked, 3000)
    assert found["none"][0] < 60 and found["weights"][0] >= least
    assert found["weights?scale=plain"][0] < found["weights"][0]


def test_batchnorm_networks_align(shared_data):
    names = (f"mlp-bn-ensemble/{end}.pt" for end in "01")
    found = midpoints(shared_data, *names, "mnist?normalize=none", ["none", "activations", "ot"], 2000)
    assert found["none"][0] < 30
    assert found["activations"][0] > 94 and found["ot"][0] > 94
