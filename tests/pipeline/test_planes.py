"""lmc.basin: one, two or three networks and any kind of data in, a valid dataset out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import lmc
from lmc import schema
from lmc._errors import MismatchError, UsageError
from lmc.pipeline import prove
from lmc.testing import fake_classification, planted_pair, tiny_cnn, tiny_mlp

DATA = fake_classification((6,), examples=50)
MODEL = tiny_mlp()
A, B, C = (tiny_mlp(seed=seed).state_dict() for seed in (0, 1, 2))
SMALL = {"resolution": 5, "resamples": 20}


@pytest.fixture(scope="module")
def result():
    return lmc.basin(MODEL, [A, B], DATA, seed=3, attrs={"model": "tiny"}, **SMALL)


def test_the_third_mode_of_two_networks_is_the_aligned_b(result):
    schema.validate(result, "basin")
    assert result.mode.values.tolist() == ["A", "B", "B aligned"]
    assert result.mode_copy_of.values.tolist() == ["", "", "B"]
    aligned = lmc.align(A, B, lmc.find_symmetries(MODEL, DATA[0][:2]), method=lmc.WeightMatching(seed=3)).apply(B)
    distance = torch.cat([(aligned[name] - A[name]).reshape(-1) for name in A]).norm()
    third = result.sel(mode="B aligned")
    assert float(np.hypot(third.mode_u, third.mode_v)) == pytest.approx(float(distance), rel=1e-5)
    assert float(third.mode_loss) == pytest.approx(float(result.sel(mode="B").mode_loss), rel=1e-5)


def test_the_result_says_where_it_came_from(result):
    assert result.attrs["model"] == "tiny" and "seed=3" in result.attrs["alignments"]
    assert result.attrs["alignment_message"].startswith("best of ")
    assert float(result.attrs["symmetry_error"]) < 1e-10
    assert "affine plane through A, B, B aligned" in result.attrs["plane"]


def test_three_networks_need_no_symmetries_and_one_is_looked_at_from_all_sides(monkeypatch):
    monkeypatch.setattr("lmc.pipeline.planes.prove", lambda *_: pytest.fail("nothing is aligned"))
    three = lmc.basin(MODEL, [A, tiny_mlp(seed=1), C], DATA, **SMALL)
    assert three.mode.values.tolist() == ["A", "B", "C"] and not any(three.mode_copy_of.values)
    one = lmc.basin(MODEL, [A], DATA, seed=7, **SMALL)
    assert one.sizes["mode"] == 1 and "seed 7" in one.attrs["plane"]


def test_any_kind_of_data_gives_the_same_numbers(result):
    loader = DataLoader(TensorDataset(*DATA), batch_size=16)
    other = lmc.basin(MODEL, [A, B], loader, seed=3, **SMALL)
    np.testing.assert_allclose(other.loss, result.loss, rtol=1e-5)
    np.testing.assert_allclose(other.saddle_loss_ci, result.saddle_loss_ci, rtol=1e-4)


def test_a_proof_is_used_and_nothing_of_the_callers_changes():
    model, states = tiny_cnn().train(), [tiny_cnn(seed=1).state_dict(), tiny_cnn(seed=2).state_dict()]
    data = fake_classification((1, 8, 8), examples=20)
    before = [{k: t.clone() for k, t in s.items()} for s in (model.state_dict(), *states)]
    proof = prove(model, data[0][:2])
    lmc.basin(model, states, data, proof=proof, **SMALL)
    after = [model.state_dict(), *states]
    assert all(torch.equal(old[k], new[k]) for old, new in zip(before, after, strict=True) for k in old)
    assert model.training


def test_a_copy_that_aligns_back_onto_a_spans_no_plane():
    copy, _ = planted_pair(A, lmc.find_symmetries(MODEL, DATA[0][:2]), seed=4)
    with pytest.raises(MismatchError, match="A and B aligned are the same weights"):
        lmc.basin(MODEL, [A, copy], DATA, **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": []}, "got 0"),
        ({"states": [A, B, C, A]}, "got 4"),
        ({"states": [A, "b.pt"]}, "B is a str"),
        ({"model": None}, "model is a NoneType"),
        ({"align": "none"}, "one alignment that moves B"),
        ({"align": ["weights", "random"]}, "one alignment that moves B"),
        ({"resolutoin": 3}, "Did you mean 'resolution'"),
        ({"copies": {"D": "B"}}, "has no setting 'copies'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_fix(change, message):
    with pytest.raises(UsageError, match=message):
        lmc.basin(**{"model": MODEL, "states": [A, B], "data": DATA, **change})
