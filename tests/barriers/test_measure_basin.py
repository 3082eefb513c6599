"""A measured basin: every number follows from the examples, modes are what they are, saddles are bottlenecks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from minimax import bottleneck
from torch import nn

from lmc import schema
from lmc._errors import GridError, InputError, SchemaError, UsageError
from lmc.barriers import measure_basin, parts
from lmc.datasets import StreamedData, as_data
from lmc.evaluation import evaluate_path, evaluate_state
from lmc.interpolation import LinearPath, Plane


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def state_of(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in module.state_dict().items():
        drawn = torch.randn(value.shape, generator=draw)
        found[name] = (drawn.abs() + 0.5 if "running_var" in name else drawn).to(value.dtype)
    return found


MODULE = network()
PLANE = Plane.through(*(state_of(MODULE, seed) for seed in (1, 2, 3)))
DRAW = torch.Generator().manual_seed(0)
DATA = as_data((torch.randn(50, 6, generator=DRAW), torch.randint(0, 3, (50,), generator=DRAW)))
SMALL = {"resolution": 6, "resamples": 40}


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return measure_basin(MODULE, PLANE, DATA, examples=True, copies={"C": "B"}, levels=[1.0, 2.0, 3.0], **SMALL)


def test_every_number_follows_from_the_examples_kept(measured: xr.Dataset) -> None:
    np.testing.assert_allclose(measured.loss, measured.example_loss.astype("f8").mean("example"), rtol=1e-12)
    np.testing.assert_allclose(measured.accuracy, measured.example_correct.mean("example"))
    for name in ("loss", "accuracy"):
        low, high = measured[f"{name}_ci"].transpose("bound", ...).values
        assert ((low < measured[name]) & (measured[name] < high)).all()
    half = 1.959964 * measured.example_loss.astype("f8").std("example", ddof=1) / np.sqrt(50)
    np.testing.assert_allclose(measured.loss_ci.sel(bound="upper") - measured.loss, half, rtol=1e-5)
    assert (measured.accuracy_ci >= 0).all() and (measured.accuracy_ci <= 1).all()


def test_points_of_the_grid_are_the_states_of_the_plane(measured: xr.Dataset) -> None:
    for i, j in ((0, 0), (2, 5), (5, 1)):
        state = PLANE.at(float(measured.u[i]), float(measured.v[j]))
        assert float(measured.loss[i, j]) == pytest.approx(evaluate_state(MODULE, state, DATA).loss[0], rel=1e-6)


def test_modes_are_measured_as_the_networks_they_are(measured: xr.Dataset) -> None:
    for k, name in enumerate("ABC"):
        alone = evaluate_state(MODULE, PLANE.anchors[k], DATA)
        one = measured.sel(mode=name)
        assert alone.accuracy is not None
        assert float(one.mode_loss) == pytest.approx(alone.loss[0], rel=1e-6)
        assert float(one.mode_accuracy) == alone.accuracy[0]
        assert float(measured.loss.sel(u=one.mode_u, v=one.mode_v)) == float(one.mode_loss)
    assert measured.mode_copy_of.values.tolist() == ["", "", "B"]


def nodes(measured: xr.Dataset) -> list[tuple[int, int]]:
    places = zip(measured.mode_u.values, measured.mode_v.values, strict=True)
    return [(measured.u.values.tolist().index(u), measured.v.values.tolist().index(v)) for u, v in places]


@pytest.mark.parametrize("neighbours", [4, 8])
def test_saddles_are_bottleneck_paths_of_the_same_grid(neighbours: int) -> None:
    found = measure_basin(MODULE, PLANE, DATA, neighbours=neighbours, **SMALL)
    for name, field in (("loss", found.loss.values), ("error", 1 - found.accuracy.values)):
        for row, start in enumerate(nodes(found)):
            reached = bottleneck(field, start, neighbours)
            assert found[f"saddle_{name}"][row].values.tolist() == [reached[node] for node in nodes(found)]


def test_the_saddle_is_no_higher_than_the_line_where_that_lies_on_the_grid(measured: xr.Dataset) -> None:
    inside = (measured.u >= 0) & (measured.u <= measured.mode_u.sel(mode="B"))
    line = measured.loss.sel(v=0.0)[inside]
    assert float(measured.saddle_loss.sel(mode="A", other="B")) <= float(line.max())
    t = measured.u.values[inside] / float(measured.mode_u.sel(mode="B"))
    path = evaluate_path(MODULE, LinearPath(PLANE.anchors[0], PLANE.anchors[1]), t.clip(0, 1), DATA)
    np.testing.assert_allclose(line, path.loss, rtol=1e-4)


def test_components_their_areas_and_whether_they_end(measured: xr.Dataset) -> None:
    for level in measured.level.values:
        one = measured.sel(level=level)
        for i, name in enumerate("ABC"):
            for j, other in enumerate("ABC"):
                joined = int(one.mode_component[i]) == int(one.mode_component[j]) != 0
                assert joined == (float(one.saddle_loss.sel(mode=name, other=other)) <= level)
            inside = one.component.values == int(one.mode_component[i])
            assert bool(one.component_open[i]) == (float(one.escape_loss[i]) <= level)
            assert (inside.any() and (one.loss.values[inside] <= level).all()) or one.mode_component[i] == 0
    above = measured.sel(level=1.0)
    assert (above.component_area.values[above.mode_component.values == 0] == 0).all()
    whole = np.ptp(measured.u.values) * np.ptp(measured.v.values)
    high = measure_basin(MODULE, PLANE, DATA, levels=[1e6], **SMALL)
    np.testing.assert_allclose(high.component_area, whole)


def test_rounding_is_no_second_basin() -> None:
    # B and its copy lie on slopes down to A: both saddles are their own losses, which differ in the order of sums.
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3))
    a, b = state_of(net, 1), state_of(net, 2)
    a = {name: 0.01 * value for name, value in a.items()}
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    copied = {"0.weight": b["0.weight"][order], "0.bias": b["0.bias"][order], "2.weight": b["2.weight"][:, order]}
    plane = Plane.through(a, b, {**b, **copied})
    found = measure_basin(net, plane, DATA, copies={"C": "B"}, **SMALL)
    losses = found.mode_loss.values
    assert 0 < abs(losses[1] - losses[2]) < 1e-6 * losses[1], "the case that is meant"
    assert found.mode_component.values.min() > 0 and len(np.unique(found.mode_component)) == 1


def test_the_default_level_tells_two_basins_apart() -> None:
    found = measure_basin(MODULE, PLANE, DATA, **SMALL)
    saddles = sorted({float(found.saddle_loss[i, j]) for i in range(3) for j in range(i)})
    assert saddles[0] <= float(found.level[0]) < saddles[1]
    assert len(set(found.mode_component[0].values.tolist())) > 1


def test_intervals_of_saddles_hold_their_estimates_and_narrow_with_the_data(measured: xr.Dataset) -> None:
    for name in ("saddle_loss", "saddle_error"):
        low, high = measured[f"{name}_ci"].transpose("bound", ...).values
        assert ((low <= measured[name]) & (measured[name] <= high)).all()
    more = as_data((DATA.inputs.repeat(9, 1), DATA.targets.repeat(9)))
    wide, narrow = (
        measure_basin(MODULE, PLANE, data, resolution=5, resamples=100).saddle_loss_ci for data in (DATA, more)
    )
    width = [(one.sel(bound="upper") - one.sel(bound="lower")).values.mean() for one in (wide, narrow)]
    assert width[1] == pytest.approx(width[0] / 3, rel=0.3), "nine times the examples"


def test_chunks_of_the_grid_change_nothing() -> None:
    whole, parts = (measure_basin(MODULE, PLANE, DATA, memory=memory, **SMALL) for memory in (2**30, 1))
    xr.testing.assert_allclose(whole.drop_vars("seconds_evaluate"), parts.drop_vars("seconds_evaluate"), rtol=1e-5)
    assert "example_loss" not in whole and "example" not in whole.dims
    kept = measure_basin(MODULE, PLANE, DATA, memory=1, examples=True, **SMALL)
    np.testing.assert_allclose(kept.example_loss.astype("f8").mean("example"), kept.loss, rtol=1e-12)


def test_the_dataset_is_valid_labelled_and_survives_a_file(measured: xr.Dataset, tmp_path) -> None:
    schema.validate(measured, "basin")
    back = schema.read(schema.write(measured, tmp_path / "basin.nc"), "basin")
    xr.testing.assert_identical(back, measured)
    assert measured.u.attrs == {"long_name": "distance from A towards B", "units": "1"}
    for name, variable in measured.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name


def test_around_one_mode_the_basin_is_measured_to_where_it_ends() -> None:
    plane = Plane.around(state_of(MODULE, 1), seed=4)
    found = measure_basin(MODULE, plane, DATA, **SMALL)
    assert found.sizes["mode"] == 1 and found.u[0] == -1 and found.v[-1] == 1
    assert float(found.mode_loss[0]) <= float(found.level[0]) <= float(found.escape_loss[0])
    assert "random direction" in found.u.attrs["long_name"] and "seed 4" in found.attrs["plane"]


def test_recalibration_reaches_every_point_and_is_told() -> None:
    plain = measure_basin(MODULE, PLANE, DATA, **SMALL)
    reset = measure_basin(MODULE, PLANE, DATA, recalibrate=DATA, **SMALL)
    assert (abs(reset.loss - plain.loss) > 1e-5).all() and "reset on" in reset.batchnorm


def test_regression_has_no_error_and_no_nats() -> None:
    module = nn.Linear(2, 1)
    plane = Plane.through(*(state_of(module, seed) for seed in (1, 2, 3)))
    data = as_data((torch.randn(9, 2), torch.randn(9)), task="regression")
    found = measure_basin(module, plane, data, confidence=0.9, **SMALL)
    assert "accuracy" not in found and "saddle_error" not in found
    assert found.saddle_loss.units == found.level.units == "1" and found.loss_ci.long_name.startswith("90%")
    # Convex in the weights: one basin, with a mode perhaps above the level.
    assert set(found.mode_component[0].values.tolist()) - {0} == {1}


def test_nothing_of_the_callers_changes() -> None:
    module = network().train()
    kept = copy.deepcopy((module.state_dict(), *PLANE.anchors))
    measure_basin(module, PLANE, DATA, recalibrate=DATA, resolution=3, resamples=5)
    for state, before in zip((module.state_dict(), *PLANE.anchors), kept, strict=True):
        assert all(torch.equal(state[name], before[name]) for name in before)
    assert all(child.training for child in module.modules())


class NeverRead:
    """Batches that must not be touched: what is wrong has to be told before the long work."""

    def __iter__(self):
        raise AssertionError("data were read before the options were checked")


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"resolution": 1}, GridError, "3 points"),
        ({"margin": -1}, GridError, "margin"),
        ({"levels": []}, UsageError, "one or more"),
        ({"levels": [float("nan")]}, UsageError, "finite"),
        ({"neighbours": 6}, UsageError, "4 or 8"),
        ({"confidence": 95}, UsageError, "between 0 and 1"),
        ({"resamples": 0}, UsageError, "resamples"),
        ({"copies": {"D": "B"}}, UsageError, "Unknown mode 'D'"),
    ],
)
def test_what_is_wrong_is_told_before_data_are_read(options, error, told) -> None:
    with pytest.raises(error, match=told):
        measure_basin(MODULE, PLANE, StreamedData(NeverRead(), (6,)), **options)


def test_attributes_that_netcdf_refuses_are_made_storable() -> None:

    found = measure_basin(MODULE, PLANE, DATA, attrs={"flag": True, "none": None}, resolution=3, resamples=5)
    assert found.flag == "true" and found.none == "null"
    with pytest.raises(SchemaError):
        schema.validate(found.assign_attrs(flag=True))


def test_a_loss_that_is_not_finite_is_refused_with_where_on_the_plane() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.where(outputs[:, 0] > -1e9, torch.nan, outputs[:, 0])

    with pytest.raises(InputError, match=r"On the plane, where t counts the points.*smaller margin"):
        measure_basin(MODULE, PLANE, DATA, loss=loss, **SMALL)


def test_an_interrupted_grid_goes_on_with_the_same_numbers(tmp_path, monkeypatch) -> None:
    """Parts of a few points each; the third one is interrupted."""
    monkeypatch.setattr(parts, "_PART", 5 * 2 * 50 * sum(p.numel() for p in MODULE.parameters()))
    whole = measure_basin(MODULE, PLANE, DATA, levels=[1.0], work=tmp_path / "whole", **SMALL)
    original, calls = parts.evaluate_path, []

    def interrupted(module, path, t, data, **options):
        calls.append(t)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(module, path, t, data, **options)

    monkeypatch.setattr(parts, "evaluate_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_basin(MODULE, PLANE, DATA, levels=[1.0], work=tmp_path / "cut", **SMALL)
    resumed = measure_basin(MODULE, PLANE, DATA, levels=[1.0], work=tmp_path / "cut", **SMALL)
    total = sum(len(t) for t in calls) - len(calls[2])
    assert len(calls) > 4 and total == whole.u.size * whole.v.size, "what was there is not measured again"
    xr.testing.assert_identical(*(one.drop_vars("seconds_evaluate").drop_attrs() for one in (whole, resumed)))
