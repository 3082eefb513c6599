"""Curves on disk, ours and Garipov et al.'s; and measured beside the straight line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from lmc import schema
from lmc._errors import CheckpointError, MismatchError, UsageError
from lmc.checkpoints import load, save
from lmc.datasets import as_data, open_data
from lmc.evaluation import evaluate_path
from lmc.interpolation import BezierPath, LinearPath, PolygonalPath, train_curve
from lmc.pipeline import between, load_curve, load_pair, measure_curve, save_curve
from lmc.testing import fake_classification, tiny_cnn, tiny_mlp

DATA = fake_classification((6,), examples=50)
MODEL = tiny_mlp()
KINDS = {BezierPath: "bezier", PolygonalPath: "polygonal"}
BENDS = [tiny_mlp(seed=seed).state_dict() for seed in range(4)]


def equal(a, b) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def garipov(bends, coefficients=(), common=()):
    """Return what Garipov et al.'s code saves of a curve."""
    state = {f"net.{name}_{k}": tensor for k, bend in enumerate(bends) for name, tensor in bend.items()}
    return {
        "model_state": {**{f"coeff_layer.{name}": torch.arange(4.0) for name in coefficients}, **state, **dict(common)}
    }


@pytest.mark.parametrize("curve", [BezierPath, PolygonalPath])
def test_a_curve_comes_back_bit_by_bit(tmp_path, curve):
    path = curve(BENDS)
    file = save_curve(path, tmp_path / "curve.safetensors", {"curve_steps": 7})
    again = load_curve(file, MODEL)
    assert type(again) is curve
    assert all(equal(one, other) for one, other in zip(again.bends, BENDS, strict=True))
    assert load(file).metadata["lmc"] == {"curve_steps": 7, "curve": KINDS[curve], "bends": 4}


def test_ties_and_names_with_numbers_come_back(tmp_path):
    class Numbered(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.net = nn.Module()
            self.net.weight_0 = nn.Parameter(torch.full((2, 2), float(seed)))
            self.net.weight_1 = nn.Parameter(torch.full((2, 2), seed + 0.5))
            self.tied = self.net.weight_0

    bends = [Numbered(seed).state_dict() for seed in range(3)]
    again = load_curve(save_curve(BezierPath(bends), tmp_path / "c.safetensors"), Numbered(9))
    assert all(equal(one, other) for one, other in zip(again.bends, bends, strict=True))
    state = again.at(0.4)
    assert state["tied"] is state["net.weight_0"] and state["net.weight_1"] is not state["tied"]


@pytest.mark.parametrize(
    ("coefficients", "curve"), [(["binom", "range", "rev_range"], BezierPath), (["range"], PolygonalPath)]
)
def test_curves_of_others_tell_their_kind_by_their_coefficients(tmp_path, coefficients, curve):
    torch.save(garipov(BENDS, coefficients), tmp_path / "theirs.pt")
    found = load_curve(tmp_path / "theirs.pt", MODEL)
    assert type(found) is curve
    assert all(equal(one, other) for one, other in zip(found.bends, BENDS, strict=True))


def test_other_names_are_matched_and_a_kind_that_nobody_says_is_asked_for(tmp_path):
    names = dict(
        zip(MODEL.state_dict(), ("a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias"), strict=True)
    )
    renamed = [{names[name]: tensor for name, tensor in bend.items()} for bend in BENDS]
    torch.save(garipov(renamed), tmp_path / "theirs.pt")
    with pytest.raises(UsageError, match=r"which kind of curve its 4 bends.*--kind polygonal"):
        load_curve(tmp_path / "theirs.pt", MODEL)
    found = load_curve(tmp_path / "theirs.pt", MODEL, "polygonal")
    assert all(equal(one, other) for one, other in zip(found.bends, BENDS, strict=True))
    with pytest.raises(UsageError, match="Did you mean 'polygonal'"):
        load_curve(tmp_path / "theirs.pt", MODEL, "poligonal")


def test_statistics_without_a_number_belong_to_every_bend(tmp_path):
    model = tiny_cnn()
    states = [tiny_cnn(seed=seed).state_dict() for seed in range(3)]
    parameters = dict(model.named_parameters())
    bends = [{name: tensor for name, tensor in state.items() if name in parameters} for state in states]
    statistics = {f"net.{name}": tensor for name, tensor in states[1].items() if name not in parameters}
    torch.save(garipov(bends, ["range"], statistics), tmp_path / "theirs.pt")
    path = load_curve(tmp_path / "theirs.pt", model)
    for k in range(3):
        assert torch.equal(path.bends[k]["1.running_mean"], states[1]["1.running_mean"])
        assert torch.equal(path.bends[k]["0.weight"], states[k]["0.weight"])
    # Their statistics are of no particular end: A and B take theirs back.
    whole = between(path, states[0], states[2], "theirs.pt")
    assert equal(whole.at(0), states[0]) and equal(whole.at(1), states[2])


def test_files_that_hold_no_whole_curve_are_refused_with_what_is_missing(tmp_path):
    file = tmp_path / "c.safetensors"
    with pytest.raises(CheckpointError, match=r"'0\.weight' carries none.*\n.*lmc curve A B -o"):
        load_curve(save(BENDS[0], file), MODEL)
    with pytest.raises(CheckpointError, match="there is one bend"):
        load_curve(save({f"{name}_0": tensor for name, tensor in BENDS[0].items()}, file), MODEL)
    state = load(save_curve(BezierPath(BENDS), file)).state
    with pytest.raises(CheckpointError, match=r"bends up to 3, but lacks 0\.weight_1, 0\.bias_1.* and 2 more"):
        load_curve(save({name: tensor for name, tensor in state.items() if not name.endswith("_1")}, file), MODEL)
    with pytest.raises(CheckpointError, match=r"lacks 2\.bias_2:"):
        load_curve(save({name: tensor for name, tensor in state.items() if name != "2.bias_2"}, file), MODEL)
    with pytest.raises(CheckpointError, match="NaN"):
        load_curve(save({**state, "0.bias_2": state["0.bias_2"] * float("nan")}, file), MODEL)
    with pytest.raises(MismatchError, match=r"c\.safetensors, bend 0"):
        load_curve(save_curve(BezierPath(BENDS), file), tiny_mlp((6, 9, 7, 3)))


def test_a_curve_between_other_networks_is_refused():
    path = BezierPath(BENDS[:3])
    found = between(path, BENDS[0], BENDS[2], "c")
    assert type(found) is BezierPath and equal(found.bends[1], BENDS[1])
    half = [{name: tensor.half() for name, tensor in bend.items()} for bend in BENDS[:3]]
    wide = {name: tensor.float() for name, tensor in half[2].items()}
    assert equal(between(BezierPath(half), half[0], wide, "c").ends[1], wide)
    with pytest.raises(MismatchError, match=r"last bend is not B \('0.weight' differs\). Pass the two"):
        between(path, BENDS[0], BENDS[3], "c")
    with pytest.raises(MismatchError, match=r"first bend is not A.*A and B are swapped"):
        between(path, BENDS[2], BENDS[0], "c")


def test_a_curve_is_measured_beside_the_line():
    path = BezierPath(BENDS[:3])
    result = measure_curve(MODEL, path, DATA, points=5, attrs={"model": "tiny"})
    schema.validate(result, "barrier")
    assert list(result.alignment.values) == ["straight", "curve"]
    for name, one in (("straight", LinearPath(*path.ends)), ("curve", path)):
        loss = evaluate_path(MODEL, one, result.t.values, as_data(DATA)).loss
        np.testing.assert_allclose(result.loss.sel(alignment=name), loss, rtol=1e-6)
    ends = result.example_loss.isel(t=[0, -1])
    assert np.array_equal(ends.sel(alignment="straight"), ends.sel(alignment="curve"))
    assert not np.allclose(result.loss.sel(alignment="straight"), result.loss.sel(alignment="curve"))
    assert json.loads(result.attrs["interpolation"])["curve"].startswith("Bezier curve of 3 bends")
    assert "Bezier" in str(result.alignment_message.sel(alignment="curve").item())
    assert result.alignment.attrs["long_name"] == "path" and result.attrs["model"] == "tiny"


def test_with_batchnorm_the_statistics_are_measured_or_it_is_refused():
    model = tiny_cnn()
    path = BezierPath([tiny_cnn(seed=seed).state_dict() for seed in range(3)])
    images = fake_classification((1, 8, 8))
    with pytest.raises(UsageError, match="pass training data"):
        measure_curve(model, path, images, points=3)
    result = measure_curve(model, path, images, points=3, training=images)
    assert "reset" in result.attrs["batchnorm"]
    assert np.allclose(result.loss[0, [0, -1]], result.loss[1, [0, -1]]), "the ends are treated alike on both paths"


CNN = "checkpoints/curve-cnn"


@pytest.fixture(scope="module")
def public(shared_data):
    """The two public ends, their network, and 500 test images."""
    data = open_data("mnist?normalize=none&limit=500", "test", shared_data)
    ends = [shared_data / CNN / f"endpoint{k}-epoch200.pt" for k in (1, 2)]
    pair = load_pair(*ends, input_shape=data.input_shape, num_classes=data.num_classes)
    return pair, data


@pytest.mark.shared
def test_a_chain_that_others_trained_joins_its_ends(shared_data, public):
    """On all 10,000 images the straight midpoint has 77.1 and the chain never less than 98.8."""
    pair, data = public
    module = pair.a.architecture.module
    path = load_curve(shared_data / CNN / "polychain-6bends-epoch200.pt", module)
    assert type(path) is PolygonalPath and len(path.bends) == 6
    path = between(path, pair.a.state, pair.b.state, "polychain")
    accuracy = measure_curve(module, path, data, points=7).accuracy
    assert float(accuracy.sel(alignment="curve").min()) >= 0.98
    assert 0.65 < float(accuracy.sel(alignment="straight", t=0.5)) < 0.85
    # The same bends in another order are no way from A to B.
    wrong = PolygonalPath([path.bends[k] for k in (0, 3, 1, 4, 2, 5)])
    assert float(evaluate_path(module, wrong, [0.3, 0.7], data).accuracy.min()) < 0.97


@pytest.mark.shared
def test_a_few_steps_of_training_join_two_public_networks_better_than_the_line(shared_data, public):
    pair, data = public
    module = pair.a.architecture.module
    training = open_data("mnist?normalize=none&limit=4000", "train", shared_data)
    path = train_curve(module, pair.a.state, pair.b.state, training, steps=60, lr=3e-3, batch_size=64).path
    straight, curve = (
        evaluate_path(module, one, [0.25, 0.5, 0.75], data).accuracy.min() for one in (LinearPath(*path.ends), path)
    )
    assert straight < 0.85 < 0.93 < curve
