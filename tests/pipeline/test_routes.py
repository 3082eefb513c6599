"""Which way a barrier's path takes: in parts, on an arc, through further networks; each aligned before it is walked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import lmc
from lmc._errors import MismatchError, UsageError
from lmc.evaluation import evaluate_path, evaluate_state
from lmc.interpolation import LinearPath, PolygonalPath, SphericalPath, move_only
from lmc.testing import fake_classification, planted_pair, tiny_cnn, tiny_mlp

DATA = fake_classification((6,), examples=50)
MODEL = tiny_mlp()
A, B, C = (tiny_mlp(seed=seed).state_dict() for seed in (0, 1, 2))
T = np.linspace(0, 1, 5)


def aligned(state):
    return lmc.align(A, state, lmc.find_symmetries(MODEL, DATA[0][:2]), method=lmc.WeightMatching(seed=0)).apply(state)


def losses(path, module=MODEL, data=DATA):
    return evaluate_path(module, path, T, lmc.as_data(data)).loss


def test_only_some_layers_move_after_the_whole_of_b_was_aligned():
    result = lmc.barrier(MODEL, A, B, DATA, only="2", points=5)
    for name, b in (("none", B), ("weights", aligned(B))):
        expected = losses(LinearPath(A, move_only(A, b, ["2"])))
        np.testing.assert_allclose(result.loss.sel(alignment=name), expected, rtol=1e-6)
    # Parts of an unaligned B, or the whole of B, would be other curves.
    assert not np.allclose(*result.loss.values, rtol=1e-3)
    assert not np.allclose(result.loss, lmc.barrier(MODEL, A, B, DATA, points=5).loss, rtol=1e-3)


def test_a_result_says_that_its_end_is_no_b():
    result = lmc.barrier(MODEL, A, B, DATA, only=["0", "2.bias"], align="none", points=3)
    assert json.loads(result.attrs["only"]) == ["0", "2.bias"]
    assert result.t.attrs["long_name"] == "position along the path (0 is A, 1 is B*: A with B's 0, 2.bias)"
    panel = lmc.plot_barrier(result).panels["accuracy"]
    assert "1 is B*: A with B's 0, 2.bias" in panel.axes.get_xlabel().replace("\n", " ")
    assert [mark.get_text() for mark in panel.ends] == ["A", "B*"]
    whole = lmc.barrier(MODEL, A, B, DATA, align="none", points=3)
    assert "only" not in whole.attrs and whole.attrs["path"] == "linear" and "1 is B" in whole.t.attrs["long_name"]


def test_inputs_are_scaled_for_a_all_along_where_the_rest_of_a_stays():
    pair = lmc.Normalization((0.0,), (2.0,)), lmc.Normalization((1.0,), (0.5,))
    settings = {"align": "none", "points": 5}
    ours = lmc.barrier(MODEL, A, B, DATA, only="2", normalizations=pair, **settings)
    scaled = lmc.barrier(MODEL, A, B, DATA, only="2", normalizations=(pair[0], pair[0]), **settings)
    np.testing.assert_array_equal(ours.loss, scaled.loss)
    assert ours.attrs["normalization"] == scaled.attrs["normalization"]
    # Where the whole of B arrives, so do its constants.
    whole, other = (lmc.barrier(MODEL, A, B, DATA, normalizations=p, **settings) for p in (pair, (pair[0], pair[0])))
    assert not np.allclose(whole.loss[0, -1], other.loss[0, -1], rtol=1e-3)


def test_no_layer_that_moves_alone_is_no_barrier_but_all_of_them_are_the_path():
    everything = lmc.barrier(MODEL, A, B, DATA, only=["0", "2", "4"], align="none", points=5)
    np.testing.assert_array_equal(everything.loss, lmc.barrier(MODEL, A, B, DATA, align="none", points=5).loss)


def test_a_permuted_copy_moves_nowhere_once_aligned_layer_by_layer():
    copy, _ = planted_pair(A, lmc.find_symmetries(MODEL, DATA[0][:2]), seed=4)
    result = lmc.barrier(MODEL, A, copy, DATA, only="2", points=5)
    assert np.ptp(result.loss.sel(alignment="weights").values) < 1e-6
    assert np.ptp(result.loss.sel(alignment="none").values) > 1e-3


def test_the_arc_turns_parameters_and_leaves_buffers_on_the_line():
    model, data = tiny_cnn(), fake_classification((1, 8, 8))
    a, b = (tiny_cnn(seed=seed).state_dict() for seed in (0, 1))
    result = lmc.barrier(model, a, b, data, path="spherical", align="none", points=5)
    parameters = dict(model.named_parameters())
    np.testing.assert_allclose(result.loss[0], losses(SphericalPath(a, b, parameters), model, data), rtol=1e-6)
    everything = [name for name in a if a[name].is_floating_point()]
    assert not np.allclose(result.loss[0], losses(SphericalPath(a, b, everything), model, data), rtol=1e-4)
    assert result.attrs["path"] == "spherical" and result.attrs["interpolation"].startswith("spherical")
    assert "buffers included" in result.attrs["interpolation"]


def test_a_path_via_a_network_touches_it_aligned_like_b():
    result = lmc.barrier(MODEL, A, B, DATA, via=[C], points=5)
    for name, one in (("none", lambda state: state), ("weights", aligned)):
        expected = losses(PolygonalPath([A, one(C), one(B)]))
        np.testing.assert_allclose(result.loss.sel(alignment=name), expected, rtol=1e-6)
    middle = evaluate_state(MODEL, C, lmc.as_data(DATA)).loss[0]
    assert np.allclose(result.loss.sel(t=0.5), middle), "C's function, permuted or not"
    assert json.loads(result.attrs["via"]) == [{"source": "via[0]"}]
    # The row of B itself is what it is without the detour.
    plain = lmc.barrier(MODEL, A, B, DATA, points=5)
    assert np.allclose(result.loss[:, [0, -1]], plain.loss[:, [0, -1]])
    assert np.allclose(result.objective, plain.objective, equal_nan=True)


def test_several_networks_on_the_way_and_whatever_has_weights(tmp_path):
    checkpoint = lmc.load(lmc.save(C, tmp_path / "c.safetensors"))
    result = lmc.barrier(MODEL, A, B, DATA, via=[checkpoint, tiny_mlp(seed=3)], align="none", points=4)
    thirds = [evaluate_state(MODEL, tiny_mlp(seed=seed).state_dict(), lmc.as_data(DATA)).loss[0] for seed in (2, 3)]
    assert np.allclose(result.loss[0].sel(t=[1 / 3, 2 / 3], method="nearest"), thirds)
    first, second = json.loads(result.attrs["via"])
    assert first == {"source": checkpoint.source, "sha256": checkpoint.digest} and second == {"source": "via[1]"}


def test_parts_of_every_network_on_the_way():
    result = lmc.barrier(MODEL, A, B, DATA, via=C, only="2", align="none", points=5)
    parts = [move_only(A, state, ["2"]) for state in (C, B)]
    np.testing.assert_allclose(result.loss[0], losses(PolygonalPath([A, *parts])), rtol=1e-6)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.outer.weight = self.inner.weight

    def forward(self, x):
        return self.head(self.outer(self.inner(x).relu()))


def test_a_tied_tensor_moves_under_both_names_or_is_refused_before_anything_is_aligned(monkeypatch):
    a, b = Tied().state_dict(), Tied().state_dict()
    result = lmc.barrier(Tied(), a, b, DATA, only="outer.weight", align="none", points=3)
    both = {**a, "inner.weight": b["inner.weight"], "outer.weight": b["inner.weight"]}
    assert np.allclose(result.loss[0, -1], evaluate_state(Tied(), both, lmc.as_data(DATA)).loss[0])
    apart = [{name: tensor.clone() for name, tensor in state.items()} for state in (a, b)]
    monkeypatch.setattr("lmc.pipeline.compare.prove", lambda *_: pytest.fail("too late"))
    with pytest.raises(MismatchError, match="one tensor in the network"):
        lmc.barrier(Tied(), *apart, DATA, only="outer.weight")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"path": "sphericl"}, UsageError, "Did you mean 'spherical'"),
        ({"path": "spherical", "via": [C]}, UsageError, "straight lines"),
        ({"only": "2.wieght"}, UsageError, r"Did you mean '2\.weight'"),
        ({"only": ["0", "9"]}, UsageError, "No module or tensor '9'"),
        ({"via": ["c.pt"]}, UsageError, r"via\[0\] is a str"),
        ({"via": [C, {"state_dict": C}]}, UsageError, r"via\[1\].*inside a wrapper"),
        ({"via": [tiny_mlp((6, 9, 7, 3))]}, MismatchError, r"via\[0\]: the weights do not fit"),
    ],
)
def test_a_way_that_cannot_be_walked_is_refused_before_anything_is_aligned(monkeypatch, change, error, message):
    monkeypatch.setattr("lmc.pipeline.compare.prove", lambda *_: pytest.fail("too late"))
    with pytest.raises(error, match=message):
        lmc.barrier(MODEL, A, B, DATA, **change)


def test_nothing_of_the_callers_changes():
    kept = [{name: tensor.clone() for name, tensor in state.items()} for state in (A, B, C)]
    lmc.barrier(MODEL, A, B, DATA, via=[C], only="0", points=3)
    lmc.barrier(MODEL, A, B, DATA, path="spherical", points=3)
    for state, before in zip((A, B, C), kept, strict=True):
        assert all(torch.equal(state[name], before[name]) for name in before)
