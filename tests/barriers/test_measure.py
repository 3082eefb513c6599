"""The measurement: a valid dataset whose numbers can be recomputed from its own examples."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from lmc import schema
from lmc._errors import GridError, UsageError
from lmc.barriers import chord_barrier, mean_barrier, measure_barrier
from lmc.datasets import Normalization, StreamedData, as_data
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


@pytest.fixture
def data():
    draw = torch.Generator().manual_seed(0)
    return as_data((torch.randn(60, 6, generator=draw), torch.randint(0, 3, (60,), generator=draw)))


@pytest.fixture
def paths(module) -> dict[str, LinearPath]:
    a, b, c = (state_of(module, seed) for seed in (1, 2, 3))
    return {"none": LinearPath(a, b), "weights": LinearPath(a, c)}


@pytest.fixture
def measured(module, paths, data) -> xr.Dataset:
    return measure_barrier(module, paths, data, points=7, resamples=200, objectives={"weights": 3.5})


def test_every_number_follows_from_the_examples_kept(measured) -> None:
    loss = measured.example_loss.astype("f8").mean("example")
    np.testing.assert_allclose(measured.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(measured.accuracy, measured.example_correct.mean("example"))
    for row, name in enumerate(measured.alignment.values):
        one = measured.sel(alignment=name)
        for kind, barrier in (("chord", chord_barrier), ("mean", mean_barrier)):
            assert one.loss_barrier.sel(baseline=kind) == pytest.approx(barrier(loss[row], one.t))
            assert one.error_barrier.sel(baseline=kind) == pytest.approx(barrier(1 - one.accuracy, one.t))


def test_the_dataset_is_valid_labelled_and_survives_a_file(measured, tmp_path) -> None:
    schema.validate(measured, "barrier")
    back = schema.read(schema.write(measured, tmp_path / "out.nc"))
    xr.testing.assert_identical(back.load(), measured)
    assert {measured[name].attrs["units"] for name in ("loss", "loss_barrier", "loss_area")} == {"nats"}
    assert np.isnan(measured.objective.sel(alignment="none")) and measured.objective.sel(alignment="weights") == 3.5


def test_the_midpoint_and_the_ends_are_always_there(module, paths, data) -> None:
    found = measure_barrier(module, paths["none"], data, points=4, resamples=10)
    assert list(found.alignment.values) == ["path"]
    assert {0.0, 0.5, 1.0} <= set(found.t.values) and found.sizes["t"] == 5


def test_intervals_hold_their_estimates(measured) -> None:
    for name in ("loss", "accuracy", "loss_barrier", "error_barrier"):
        low, high = measured[f"{name}_ci"].transpose("bound", ...).values
        assert ((low <= measured[name]) & (measured[name] <= high)).all()
    assert (measured.error_barrier_ci <= 1).all() and (measured.loss_barrier_ci >= 0).all()


def test_equal_paths_get_equal_intervals(module, paths, data) -> None:
    """The same resamples serve every path, so that what differs between two rows is the paths."""
    twice = measure_barrier(module, {"a": paths["none"], "b": paths["none"]}, data, points=3, resamples=50)
    for name in ("loss_ci", "loss_barrier_ci", "error_barrier_ci"):
        xr.testing.assert_equal(twice[name].sel(alignment="a", drop=True), twice[name].sel(alignment="b", drop=True))


def test_nothing_of_the_callers_changes(module, paths, data) -> None:
    module.train()
    kept = copy.deepcopy((module.state_dict(), *(end for path in paths.values() for end in path.ends)))
    measure_barrier(module, paths, data, points=3, resamples=10, recalibrate=data)
    now = (module.state_dict(), *(end for path in paths.values() for end in path.ends))
    for state, before in zip(now, kept, strict=True):
        assert all(torch.equal(state[name], before[name]) for name in before)
    assert all(child.training for child in module.modules())


def test_buffers_move_with_the_parameters(module, paths, data) -> None:
    """At t = 1 B's own running statistics are in use, not A's."""
    a, b = paths["none"].ends
    found = measure_barrier(module, paths["none"], data, points=3, resamples=10)
    mixed = LinearPath(a, {name: a[name] if "running" in name else b[name] for name in b})
    left = measure_barrier(module, mixed, data, points=3, resamples=10)
    assert abs(float(found.loss.sel(t=1, alignment="path") - left.loss.sel(t=1, alignment="path"))) > 1e-3
    assert "interpolated" in found.batchnorm


def test_recalibration_is_told_and_changes_the_ends_too(module, paths, data) -> None:
    plain = measure_barrier(module, paths["none"], data, points=3, resamples=10)
    reset = measure_barrier(module, paths["none"], data, points=3, resamples=10, recalibrate=data)
    assert (abs(reset.loss - plain.loss) > 1e-4).all()
    assert "reset on" in reset.batchnorm and "ends too" in reset.batchnorm and "reset on" in reset.interpolation


def test_recalibration_without_batchnorm_is_a_note(data) -> None:
    module = nn.Linear(6, 3)
    path = LinearPath(state_of(module, 1), state_of(module, 2))
    found = measure_barrier(module, path, data, points=3, resamples=10, recalibrate=data)
    assert found.batchnorm == "none in the network, nothing was reset"


def test_regression_has_no_accuracy_and_no_nats() -> None:
    module = nn.Linear(2, 1)
    path = LinearPath(state_of(module, 1), state_of(module, 2))
    data = as_data((torch.randn(9, 2), torch.randn(9)), task="regression")
    found = measure_barrier(module, path, data, points=3, resamples=10, confidence=0.9)
    assert "accuracy" not in found and "error_barrier" not in found and "example_correct" not in found
    assert found.loss.units == "1" and found.loss_ci.long_name == "90% interval of the loss"
    assert float(found.loss_barrier.sel(baseline="chord", alignment="path")) == pytest.approx(
        0, abs=1e-6
    )  # convex in the weights


def test_each_end_may_have_its_own_normalisation(module, paths, data) -> None:
    pair = (None, Normalization((0.5,), (2.0,)))
    found = measure_barrier(module, paths["none"], data, points=3, resamples=10, normalizations=pair)
    assert found.normalization == "A none; B mean 0.5, std 2; scale and shift interpolated"


class NeverRead:
    """Batches that must not be touched: what is wrong has to be told before the long work."""

    def __iter__(self):
        raise AssertionError("data were read before the options were checked")


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"t": [0.0, 0.5]}, GridError, "0 and 1"),
        ({"points": 1}, GridError, "2 points"),
        ({"confidence": 95}, UsageError, "between 0 and 1"),
        ({"resamples": 0}, UsageError, "resamples"),
        ({"objectives": {"wieghts": 1.0}}, UsageError, "Did you mean 'weights'"),
    ],
)
def test_what_is_wrong_is_told_before_data_are_read(module, paths, options, error, told) -> None:
    with pytest.raises(error, match=told):
        measure_barrier(module, paths, StreamedData(NeverRead(), (6,)), **options)


def test_attributes_that_netcdf_refuses_are_made_storable(module, paths, data, tmp_path) -> None:
    attrs = {"flag": True, "nothing": None, "settings": {"restarts": 4}}
    found = measure_barrier(module, paths["none"], data, points=3, resamples=10, attrs=attrs)
    schema.write(found, tmp_path / "out.nc")
    assert found.settings == '{"restarts": 4}' and found.flag == "true"


@pytest.mark.shared
def test_the_public_pair_has_its_published_barrier(shared_data) -> None:
    import gzip

    folder = shared_data / "checkpoints" / "otfusion-mnist-mlp"
    raw = [gzip.decompress((shared_data / "mnist" / name).read_bytes()) for name in FILES]
    images = torch.tensor(np.frombuffer(raw[0][16:], np.uint8).reshape(-1, 784).astype(np.float32) / 255)
    labels = torch.tensor(np.frombuffer(raw[1][8:], np.uint8).astype(np.int64))
    module = nn.Sequential()
    for size, out in ((784, 400), (400, 200), (200, 100), (100, 10)):
        module.append(nn.Linear(size, out, bias=False)).append(nn.ReLU() if out > 10 else nn.Identity())
    ends = [torch.load(folder / f"{i}.checkpoint", map_location="cpu", weights_only=True) for i in (0, 1)]
    states = [dict(zip(module.state_dict(), end["model_state_dict"].values(), strict=True)) for end in ends]
    data = as_data((images, labels), normalization=Normalization((0.1307,), (0.3081,)))
    found = measure_barrier(module, LinearPath(*states), data, points=25, resamples=200).isel(alignment=0)
    np.testing.assert_allclose(100 * found.accuracy.sel(t=[0, 0.5, 1]), [97.72, 73.84, 97.75], atol=0.011)
    assert float(found.loss_barrier.sel(baseline="chord")) == pytest.approx(1.193, abs=0.003)


FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def test_half_precision_tells_what_it_did_to_the_ends(module, paths, data) -> None:
    path = next(iter(paths.values()))
    narrow = measure_barrier(module, path, data, points=3, dtype=torch.bfloat16)
    wide = measure_barrier(module, path, data, points=3)
    found = narrow.dtype_loss_difference.isel(alignment=0)
    expected = (narrow.loss - wide.loss).isel(alignment=0, t=[0, -1])
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert abs(found).max() > 0 and "dtype_accuracy_difference" in narrow and "dtype_loss_difference" not in wide
