"""Adaptive measurement: the numbers of the full one where it looked, all of them stored, nothing of yours changed."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lmc
from lmc import schema
from lmc._errors import DatasetError, GridError, UsageError
from lmc.barriers import measure_adaptive, measure_barrier, rises
from lmc.datasets import StreamedData, as_data
from lmc.interpolation import LinearPath


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def state_of(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in module.state_dict().items():
        drawn = torch.randn(value.shape, generator=draw)
        found[name] = (drawn.abs() + 0.5 if "running_var" in name else drawn).to(value.dtype)
    return found


@pytest.fixture
def module() -> nn.Module:
    return network()


def reversed_units(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same function with its hidden units in the opposite order: another place, with a barrier between."""
    return {
        name: value.flip(1) if name == "3.weight" else value.flip(0) if value.dim() and name != "3.bias" else value
        for name, value in state.items()
    }


@pytest.fixture
def paths(module) -> dict[str, LinearPath]:
    a, b = state_of(module, 1), state_of(module, 2)
    near = {name: (a[name] + 0.02 * (b[name] - a[name])).to(a[name].dtype) for name in b}
    return {"far": LinearPath(a, reversed_units(a)), "near": LinearPath(a, near)}


@pytest.fixture
def data(module, paths):
    """Examples that A, and its copy in another order, classify as they should."""
    inputs = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0))
    a = copy.deepcopy(module)
    a.load_state_dict(paths["far"].a)
    with torch.no_grad():
        return as_data((inputs, a.eval()(inputs).argmax(dim=1)))


@pytest.fixture
def decided(module, paths, data) -> xr.Dataset:
    return measure_adaptive(module, paths, data, tolerance=0.1, points=9, attrs={"origin": "made up"})


def test_the_result_is_valid_and_survives_a_file(decided, tmp_path) -> None:
    schema.validate(decided, "adaptive")
    back = schema.read(schema.write(decided, tmp_path / "out.nc"))
    xr.testing.assert_identical(back, decided)
    assert decided.attrs["tolerance"] == 0.1 and decided.attrs["origin"] == "made up"
    assert {decided[name].attrs["units"] for name in ("loss", "barrier", "rise", "rise_ci")} == {"nats"}


def test_verdicts_agree_with_the_full_measurement(module, paths, data, decided) -> None:
    full = measure_barrier(module, paths, data, points=9, resamples=10).loss_barrier.sel(baseline="chord")
    expected = ["above" if barrier > 0.1 else "below tolerance" for barrier in full.values]
    assert list(decided.verdict.values) == expected == ["above", "below tolerance"]


def test_every_number_follows_from_the_evaluations_kept(module, paths, data, decided) -> None:
    """Values lie one position after the other, as many as ``examples`` says, in the order of ``example``."""
    full = measure_barrier(module, paths, data, points=9, resamples=10)
    counts = decided.examples.values
    assert counts.sum() == decided.sizes["evaluation"] and (counts.sum(axis=1) == decided.evaluations).all()
    rows = np.split(decided.evaluation_loss.values, counts.ravel().cumsum()[:-1])
    right = np.split(decided.evaluation_correct.values, counts.ravel().cumsum()[:-1])
    for place, (loss, correct) in enumerate(zip(rows, right, strict=True)):
        alignment, t = divmod(place, 9)
        seen = decided.example.values[: len(loss)]
        np.testing.assert_allclose(loss, full.example_loss.values[alignment, t, seen], rtol=1e-4, atol=1e-6)
        assert (correct != full.example_correct.values[alignment, t, seen]).sum() <= 1  # a tie, rounded
        if loss.size:
            assert decided.loss[alignment, t] == pytest.approx(loss.mean(dtype="f8"))
            assert decided.accuracy[alignment, t] == pytest.approx(correct.mean())
            ends = np.stack([rows[9 * alignment][: loss.size], loss, rows[9 * alignment + 8][: loss.size]])
            middle = decided.t.values[t]
            chord = (1 - middle) * ends[0].mean(dtype="f8") + middle * ends[2].mean(dtype="f8")
            assert decided.rise[alignment, t] == pytest.approx(ends[1].mean(dtype="f8") - chord, abs=1e-6)
    assert (decided.loss.isnull() == (decided.examples == 0)).all()
    assert decided.evaluations_full == 9 * 2000


def test_looks_are_told_as_json(decided) -> None:
    for name, looks in json.loads(decided.attrs["looks"]).items():
        last = looks[-1]
        assert last["evaluations"] == decided.evaluations.sel(alignment=name)
        low, high = decided.barrier_ci.sel(alignment=name).values
        assert last["lower"] == low and (last["upper"] is None if np.isinf(high) else last["upper"] == high)


def test_errors_are_decided_on_too(module, paths, data) -> None:
    found = measure_adaptive(module, paths, data, tolerance=0.05, points=9, metric="error")
    assert found.barrier.units == "1" and found.loss.units == "nats" and (found.barrier <= 1).all()
    full = measure_barrier(module, paths, data, points=9, resamples=10).error_barrier.sel(baseline="chord")
    assert list(found.verdict.values) == ["above" if b > 0.05 else "below tolerance" for b in full.values]


def test_a_set_that_one_look_holds_is_measured_exactly(module, paths, data) -> None:
    small = data.limited(100)
    found = measure_adaptive(module, paths["near"], small, tolerance=1.0, points=5)
    full = measure_barrier(module, paths["near"], small, points=5, resamples=10)
    expected = rises(full.loss.values[0], full.t.values)
    np.testing.assert_allclose(found.rise.values[0], expected, atol=1e-6)
    np.testing.assert_allclose(found.barrier_ci.values[0], expected.max(), atol=1e-6)


def test_a_seed_decides_the_order(module, paths, data) -> None:
    runs = [measure_adaptive(module, paths, data, tolerance=0.1, points=9, seed=seed) for seed in (0, 0, 1)]
    timeless = [run.drop_vars("seconds_evaluate") for run in runs]
    xr.testing.assert_identical(*timeless[:2])
    assert not np.array_equal(runs[0].example[:50], runs[2].example[:50])
    assert len(set(runs[0].example.values.tolist())) == runs[0].sizes["example"]


def test_nothing_of_the_callers_changes(module, paths, data) -> None:
    module.train()
    kept = copy.deepcopy((module.state_dict(), *(end for path in paths.values() for end in path.ends)))
    measure_adaptive(module, paths, data, tolerance=0.1, points=5, recalibrate=data)
    now = (module.state_dict(), *(end for path in paths.values() for end in path.ends))
    for state, before in zip(now, kept, strict=True):
        assert all(torch.equal(state[name], before[name]) for name in before)
    assert all(child.training for child in module.modules())


def test_recalibration_is_told_and_made_once_for_each_position(module, paths, data, monkeypatch) -> None:
    made: list[float] = []
    at = LinearPath.at
    monkeypatch.setattr(LinearPath, "at", lambda path, t: (made.append(t), at(path, t))[1])
    found = measure_adaptive(
        module, paths["far"], data, tolerance=0.1, points=9, recalibrate=data, target="distribution"
    )
    assert "reset on" in found.batchnorm
    assert len(made) == len(set(made)) == int((found.examples > 0).sum())


def test_repaired_paths_are_decided_on_as_they_are_measured(module, paths, data) -> None:
    found = measure_adaptive(module, paths["far"], data, tolerance=0.1, points=5, repair=data)
    full = measure_barrier(module, paths["far"], data, points=5, resamples=10, repair=data)
    barrier = float(full.loss_barrier.sel(baseline="chord").item())
    assert found.verdict.item() == ("above" if barrier > 0.1 else "below tolerance")
    assert found.attrs["repair"] == full.attrs["repair"] and found.batchnorm == full.batchnorm


class NeverRead:
    """Batches that must not be touched."""

    def __iter__(self):
        raise AssertionError("data were read before the options were checked")


def test_a_stream_is_refused_with_the_way_out(module, paths) -> None:
    with pytest.raises(DatasetError, match="no random sample"):
        measure_adaptive(module, paths, StreamedData(NeverRead(), (6,)))
    with pytest.raises(DatasetError, match="no random sample"):
        lmc.barrier(module, paths["far"].a, paths["far"].b, StreamedData(NeverRead(), (6,)), adaptive=True)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"tolerance": 0}, UsageError, "positive"),
        ({"metric": "losss"}, UsageError, "Did you mean 'loss'"),
        ({"baseline": "cord"}, UsageError, "Did you mean 'chord'"),
        ({"target": "sets"}, UsageError, "Did you mean 'set'"),
        ({"confidence": 95}, UsageError, "between 0 and 1"),
        ({"t": [0.0, 0.5]}, GridError, "0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(module, paths, data, options, error, told) -> None:
    with pytest.raises(error, match=told):
        measure_adaptive(module, paths, data, **options)


def test_a_regression_has_a_loss_to_decide_on_and_no_error() -> None:
    module = nn.Linear(2, 1)
    path = LinearPath(state_of(module, 1), state_of(module, 2))
    draw = torch.Generator().manual_seed(0)
    data = as_data((torch.randn(600, 2, generator=draw), torch.randn(600, generator=draw)), task="regression")
    found = measure_adaptive(module, path, data, points=5, tolerance=0.5)
    assert found.verdict.item() == "below tolerance"  # convex in the weights
    assert found.barrier.units == "1" and "accuracy" not in found
    with pytest.raises(UsageError, match="no error rate"):
        measure_adaptive(module, path, data, metric="error")


def test_the_main_job_decides_when_asked(data) -> None:
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    states = [state_of(module, seed) for seed in (1, 2)]
    found = lmc.barrier(module, *states, data, adaptive=True, tolerance=0.1, align=("none", "weights"), points=9)
    assert found.lmc_kind == "adaptive" and list(found.alignment.values) == ["none", "weights"]
    assert found.alignment_message.values[0] == "B as it is" and np.isfinite(found.objective.values[1])
    with pytest.raises(UsageError, match="Did you mean 'tolerance'"):
        lmc.barrier(module, *states, data, adaptive=True, tolerence=0.1)
