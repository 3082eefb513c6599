"""REPAIR in a result: the repaired curve, the midpoint without it, and statistics before and after."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from lmc import schema
from lmc._errors import UsageError
from lmc.architectures import resolve
from lmc.barriers import measure_barrier
from lmc.barriers.adaptive import measure_adaptive
from lmc.checkpoints import load
from lmc.datasets import Normalization, StreamedData, as_data
from lmc.evaluation import evaluate_state
from lmc.interpolation import LinearPath, RecalibratedPath, RepairedPath, repair_report

POINTS = {"points": 3, "resamples": 10}


def data_of(shape: tuple[int, ...] = (60, 6), seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    return as_data((torch.randn(shape, generator=draw), torch.randint(0, 3, shape[:1], generator=draw)))


def ends_of(module: nn.Module) -> LinearPath:
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    a, b = (
        {
            name: value
            if "running" in name or not value.is_floating_point()
            else torch.randn(value.shape, generator=draw)
            for name, value in module.state_dict().items()
        }
        for draw in draws
    )
    return LinearPath(a, b)


def mlp(*, bias: bool = True, norm: bool = False) -> nn.Module:
    middle = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(6, 16, bias=bias), *middle, nn.ReLU(), nn.Linear(16, 3, bias=bias))


def test_the_curve_is_that_of_the_repaired_path_and_the_midpoint_without_is_kept(tmp_path) -> None:
    module, train, test = mlp(bias=False), data_of(), data_of(seed=1)
    line = ends_of(module)
    found = measure_barrier(module, {"none": line, "same": line}, test, repair=train, **POINTS)
    path = RepairedPath(line, module, train)
    for t in (0.0, 0.5, 1.0):
        loss = evaluate_state(module, path.at(t), test).loss
        assert float(found.loss.sel(alignment="none", t=t)) == pytest.approx(float(loss[0]), rel=1e-6)
    plain = evaluate_state(module, line.at(0.5), test)
    assert float(found.unrepaired_loss[0]) == pytest.approx(float(plain.loss[0]))
    assert plain.accuracy is not None
    assert float(found.unrepaired_accuracy[0]) == pytest.approx(float(plain.accuracy[0]))
    report = repair_report(path)
    np.testing.assert_allclose(found.unit_std.sel(alignment="none"), report.std, rtol=1e-6)
    np.testing.assert_allclose(found.unit_mean.sel(alignment="same"), report.mean, rtol=1e-6)
    assert float(found.unit_std.sel(stage="before").max()) < 0.95
    assert list(found.layer.values) == ["0"] and list(found.repair_treatment.values) == ["scale only"]
    assert "1 layers (all without a bias: scaled, not shifted)" in found.repair and found.repair_left
    back = schema.read(schema.write(found, tmp_path / "out.nc"), "barrier")
    xr.testing.assert_identical(back, found)


def test_with_batchnorm_the_result_says_that_the_ends_were_reset_too() -> None:
    module, train = mlp(norm=True), data_of()
    found = measure_barrier(module, ends_of(module), data_of(seed=1), repair=train, **POINTS)
    reset = measure_barrier(module, ends_of(module), data_of(seed=1), recalibrate=train, **POINTS)
    assert "ends too" in found.batchnorm and "ends with BatchNorm reset" in found.repair
    np.testing.assert_allclose(found.loss.sel(t=[0, 1]), reset.loss.sel(t=[0, 1]), rtol=1e-4)
    assert "unit_std" not in reset and "repair" not in reset.attrs


def test_a_network_with_nothing_to_repair_says_so() -> None:
    module = nn.Linear(6, 3)
    found = measure_barrier(module, ends_of(module), data_of(), repair=data_of(), **POINTS)
    assert "0 layers" in found.repair and "unit_std" not in found
    assert float(found.unrepaired_loss[0]) == pytest.approx(float(found.loss[0].sel(t=0.5)))


def test_regression_has_no_accuracy_without_the_repair_either() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    data = as_data((torch.randn(20, 6), torch.randn(20)), task="regression")
    found = measure_barrier(module, ends_of(module), data, repair=data, **POINTS)
    assert "unrepaired_accuracy" not in found and found.unrepaired_loss.units == "1"


def test_two_protocols_at_once_are_refused_before_data_are_read() -> None:
    class NeverRead:
        def __iter__(self):
            raise AssertionError("data were read first")

    module, data = mlp(), StreamedData(NeverRead(), (6,))
    with pytest.raises(UsageError, match="give one"):
        measure_barrier(module, ends_of(module), data, repair=data, recalibrate=data)


def test_the_adaptive_measurement_repairs_too() -> None:
    module, train, test = mlp(), data_of(), data_of(seed=1)
    line = ends_of(module)
    found = measure_adaptive(module, line, test, tolerance=0.1, points=5, repair=train)
    same = measure_adaptive(module, RepairedPath(line, module, train), test, tolerance=0.1, points=5)
    assert "1 layers" in found.repair and "REPAIR" in found.interpolation
    np.testing.assert_allclose(found.rise, same.rise, rtol=1e-6, atol=1e-9)
    plain = measure_adaptive(module, line, test, tolerance=0.1, points=5)
    assert "repair" not in plain.attrs and not np.allclose(plain.rise, found.rise, rtol=1e-3, equal_nan=True)
    with pytest.raises(UsageError, match="give one"):
        measure_adaptive(module, line, test, repair=train, recalibrate=train)


def mnist(folder, stem: str, count: int, normalization: Normalization | None = None):
    kinds = (("images-idx3", 16), ("labels-idx1", 8))
    raw = [gzip.decompress((folder / "mnist" / f"{stem}-{kind}-ubyte.gz").read_bytes())[skip:] for kind, skip in kinds]
    images, labels = (np.frombuffer(part, np.uint8) for part in raw)
    pixels = torch.tensor(images.reshape(-1, 784)[:count].astype(np.float32) / 255)
    return as_data((pixels, torch.tensor(labels[:count].astype(np.int64))), normalization=normalization)


def aligned_ends(folder, a: str, b: str):
    """Return the network and the line from A to B, B as it is and aligned by weights."""
    from lmc.alignment import WeightMatching, align
    from lmc.symmetry import find_symmetries

    states = [dict(load(folder / "checkpoints" / name).state) for name in (a, b)]
    module = resolve(None, load(folder / "checkpoints" / a)).module
    states = [dict(zip(module.state_dict(), state.values(), strict=True)) for state in states]
    spec = find_symmetries(module, torch.zeros(2, 784))
    aligned = align(*states, spec, method=WeightMatching()).apply(states[1])
    return module, LinearPath(*states), LinearPath(states[0], aligned)


def midpoint(module: nn.Module, path, data) -> tuple[float, float]:
    evaluation = evaluate_state(module, path.at(0.5), data)
    assert evaluation.accuracy is not None
    return 100 * float(evaluation.accuracy[0]), float(evaluation.loss[0])


@pytest.mark.shared
def test_mlps_with_batchnorm_meet_after_alignment_and_repair(shared_data) -> None:
    module, line, aligned = aligned_ends(shared_data, "mlp-bn-ensemble/0.pt", "mlp-bn-ensemble/1.pt")
    train, test = mnist(shared_data, "train", 5000), mnist(shared_data, "t10k", 10000)
    assert midpoint(module, line, test)[0] == pytest.approx(19.33, abs=0.02)
    assert midpoint(module, RecalibratedPath(aligned, module, train), test)[0] >= 98.0
    path = RepairedPath(aligned, module, train)
    assert midpoint(module, path, test)[0] >= 97.5
    report = repair_report(path)
    assert max(before for before, _ in report.std) < 0.9  # deeper layers have collapsed further
    np.testing.assert_allclose([after for _, after in report.std], 1, atol=1e-4)
    np.testing.assert_allclose([after for _, after in report.mean], 0, atol=1e-4)


@pytest.mark.shared
def test_the_public_pair_without_biases_gains_by_scaling_alone(shared_data) -> None:
    folder = "otfusion-mnist-mlp"
    module, _, aligned = aligned_ends(shared_data, f"{folder}/0.checkpoint", f"{folder}/1.checkpoint")
    constants = Normalization((0.1307,), (0.3081,))
    train, test = (mnist(shared_data, stem, 10000, constants) for stem in ("train", "t10k"))
    path = RepairedPath(aligned, module, train)
    report = repair_report(path)
    assert set(report.treatments) == {"scale only"}
    before, after = midpoint(module, aligned, test), midpoint(module, path, test)
    assert after[0] > before[0] and after[1] < 0.85 * before[1]
    collapse = [ratio for ratio, _ in report.std]
    assert collapse == sorted(collapse, reverse=True) and collapse[-1] < 0.75
    np.testing.assert_allclose([ratio for _, ratio in report.std], 1, atol=1e-4)
