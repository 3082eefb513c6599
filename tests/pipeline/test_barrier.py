"""lmc.barrier: two state dicts and any kind of data in, a valid dataset out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lmc
from lmc import schema
from lmc._errors import MismatchError, SymmetryError, UsageError
from lmc.pipeline import prove
from lmc.testing import fake_classification, planted_pair, tiny_cnn, tiny_mlp

DATA = fake_classification((6,), examples=50)
MODEL = tiny_mlp()
A, B = MODEL.state_dict(), tiny_mlp(seed=1).state_dict()


@pytest.fixture(scope="module")
def result():
    return lmc.barrier(MODEL, A, B, DATA, points=5, seed=3, attrs={"model": "tiny"})


def test_the_result_is_valid_and_says_where_it_came_from(result):
    schema.validate(result, "barrier")
    assert list(result.alignment.values) == ["none", "weights"]
    assert result.attrs["model"] == "tiny"
    assert "seed=3" in result.attrs["alignments"]
    assert float(result.attrs["symmetry_error"]) < 1e-10
    assert str(result.alignment_message.sel(alignment="weights").item()).startswith("best of ")


def test_ends_are_the_networks_themselves(result):
    x, y = DATA
    for state, at in ((A, 0), (B, -1)):
        loss = nn.functional.cross_entropy(torch.func.functional_call(MODEL, state, (x,)), y)
        assert np.allclose(result.loss[:, at], float(loss), rtol=1e-5)


def test_the_midpoint_is_the_average_of_a_and_aligned_b(result):
    x, y = DATA
    aligned = lmc.align(A, B, lmc.find_symmetries(MODEL, x[:2]), method=lmc.WeightMatching(seed=3)).apply(B)
    middle = {name: (A[name] + aligned[name]) / 2 for name in A}
    loss = nn.functional.cross_entropy(torch.func.functional_call(MODEL, middle, (x,)), y)
    assert float(result.loss.sel(alignment="weights", t=0.5)) == pytest.approx(float(loss), rel=1e-5)


def test_a_permuted_copy_has_no_barrier_once_aligned():
    spec = lmc.find_symmetries(MODEL, DATA[0][:2])
    copy, _ = planted_pair(A, spec, seed=4)
    measured = lmc.barrier(MODEL, A, copy, DATA, points=5)
    chord = measured.loss_barrier.sel(baseline="chord")
    assert float(chord.sel(alignment="weights")) == pytest.approx(0, abs=1e-7)
    assert float(measured.loss_barrier.sel(baseline="chord", alignment="none")) > 1e-3


@pytest.mark.parametrize("wrap", [TensorDataset, lambda x, y: DataLoader(TensorDataset(x, y), batch_size=16)])
def test_any_kind_of_data_gives_the_same_numbers(result, wrap):
    other = lmc.barrier(MODEL, A, B, wrap(*DATA), points=5, seed=3)
    assert np.allclose(other.loss, result.loss, rtol=1e-6)


def test_nothing_of_the_callers_changes():
    model = tiny_cnn().train()
    state_a, state_b = tiny_cnn(seed=1).state_dict(), tiny_cnn(seed=2).state_dict()
    before = [{k: t.clone() for k, t in s.items()} for s in (model.state_dict(), state_a, state_b)]
    lmc.barrier(model, state_a, state_b, fake_classification((1, 8, 8)), points=3)
    after = [model.state_dict(), state_a, state_b]
    assert all(torch.equal(old[k], new[k]) for old, new in zip(before, after, strict=True) for k in old)
    assert model.training


def test_global_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    lmc.barrier(MODEL, A, B, DATA, points=3)
    assert torch.equal(torch.rand(3), expected)


def test_an_alignment_asked_for_twice_or_unknown_is_refused_before_any_work():
    with pytest.raises(UsageError, match="asked for twice"):
        lmc.barrier(MODEL, A, B, DATA, align=["none", "none"])
    with pytest.raises(UsageError, match="Did you mean 'weights'"):
        lmc.barrier(MODEL, A, B, DATA, align="weight")


def test_checkpoints_and_modules_are_taken_for_their_states(result, tmp_path):
    loaded = lmc.load(lmc.save(B, tmp_path / "b.safetensors"))
    again = lmc.barrier(MODEL, MODEL, loaded, DATA, points=5, seed=3)
    assert np.allclose(again.loss, result.loss)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_b": "b.pt"}, "state_b is a str"),
        ({"state_b": {"state_dict": B}}, "inside a wrapper"),
        ({"model": None}, "model is a NoneType"),
        ({"align": 3}, "align is 3"),
        ({"point": 3}, "Did you mean 'points'"),
        ({"points": [0, 1]}, "t="),
        ({"recalibrate": True}, "training data"),
        ({"repair": True}, "training data"),
        ({"repair": DATA, "recalibrate": DATA}, "give one"),
        ({"dtype": "float32"}, "torch.float32"),
        ({"loss": "mse"}, "pass a function"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fix(change, message):
    with pytest.raises(UsageError, match=message):
        lmc.barrier(**{"model": MODEL, "state_a": A, "state_b": B, "data": DATA, **change})


def test_keys_are_matched_before_anything_is_computed():
    renamed = {name.replace("0.", "zero."): tensor for name, tensor in B.items() if name != "0.bias"}
    with pytest.raises(MismatchError, match=r"state_b.*\n.*missing"):
        lmc.barrier(MODEL, A, renamed, DATA)


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x if float(x.detach().sum()) < 1e9 else x * 2)


def test_a_network_that_cannot_be_traced_is_still_measured_without_alignment():
    net = Untraceable()
    with pytest.raises(SymmetryError, match="could not be traced"):
        lmc.barrier(net, net.state_dict(), Untraceable().state_dict(), DATA, points=3)
    plain = lmc.barrier(net, net.state_dict(), Untraceable().state_dict(), DATA, align="none", points=3)
    assert plain.sizes["alignment"] == 1


def test_a_wrong_rule_stops_the_run(monkeypatch):
    """Were a rule unsound, nothing would be aligned: the proof fails and names the group."""
    from lmc.symmetry import find

    def wrong(op):
        return op.get(0)  # normalisation without its statistics

    monkeypatch.setattr(find, "RULES", {**find.RULES, "aten.batch_norm": wrong})
    with pytest.raises(SymmetryError, match="could not be proved: permuting 0"):
        prove(tiny_cnn(), (torch.zeros(2, 1, 8, 8),))


def test_quantities_that_the_task_has_not_are_refused_before_anything_is_aligned(monkeypatch):
    x, _ = DATA

    def never(*args, **options):
        raise AssertionError("aligned first")

    monkeypatch.setattr("lmc.pipeline.compare.align", never)
    with pytest.raises(UsageError, match="top5 is about predicted classes"):
        lmc.barrier(MODEL, A, B, (x, torch.zeros(len(x), 3)), points=3, also=["top5"])


def test_a_setting_of_the_full_measurement_is_refused_by_the_adaptive_one_which_says_so():
    with pytest.raises(UsageError, match="no setting 'also' with adaptive=True"):
        lmc.barrier(MODEL, A, B, DATA, adaptive=True, also=["top5"])
