"""Work in parts: the numbers are those of the whole, an interrupted run goes on, and rows do not meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from lmc.barriers import Setting, make_grid, measure_barrier, parts
from lmc.datasets import as_data
from lmc.interpolation import LinearPath
from lmc.testing import fake_classification, tiny_cnn, tiny_mlp
from lmc.units import WorkFolder

DATA = as_data(fake_classification((6,), examples=70))
NET = tiny_mlp()
A, B, C = (tiny_mlp(seed=seed).state_dict() for seed in (1, 2, 3))
PATHS = {"none": LinearPath(A, B), "weights": LinearPath(A, C)}
OPTIONS = {"points": 7, "resamples": 50, "also": ("disagreement",)}


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Bit for bit, but for timings."""
    timings = [name for name in one.variables if str(name).startswith("seconds")]
    xr.testing.assert_identical(one.drop_vars(timings).drop_attrs(), other.drop_vars(timings).drop_attrs())


@pytest.fixture
def small_parts(monkeypatch):
    """Two positions a part."""
    work = 2 * sum(p.numel() for p in NET.parameters()) * 70
    monkeypatch.setattr(parts, "_PART", 2.5 * work)


@pytest.fixture
def calls(monkeypatch) -> list[np.ndarray]:
    """Record the positions of every evaluation."""
    made: list[np.ndarray] = []
    original = parts.evaluate_path

    def counted(module, path, t, data, **options):
        made.append(t)
        return original(module, path, t, data, **options)

    monkeypatch.setattr(parts, "evaluate_path", counted)
    return made


def test_parts_give_the_numbers_of_the_whole(tmp_path: Path, small_parts, calls):
    """Up to rounding, since engines may work on positions together; the same parts give the same bits."""
    whole = measure_barrier(NET, PATHS, DATA, **OPTIONS)
    del calls[:]
    found = measure_barrier(NET, PATHS, DATA, work=WorkFolder(tmp_path), **OPTIONS)
    assert [len(t) for t in calls] == [2, 2, 2, 1] * 2
    np.testing.assert_allclose(found.example_loss, whole.example_loss, rtol=1e-5)
    np.testing.assert_allclose(found.loss_barrier_ci, whole.loss_barrier_ci, atol=1e-6)
    same(measure_barrier(NET, PATHS, DATA, work=tmp_path, **OPTIONS), found)
    assert len(calls) == 8, "nothing is evaluated twice"


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, small_parts, monkeypatch, after: int):
    whole = measure_barrier(NET, PATHS, DATA, work=WorkFolder(tmp_path / "whole"), **OPTIONS)
    original, made = parts.evaluate_path, []

    def interrupted(*args, **options):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(args[2])
        return original(*args, **options)

    monkeypatch.setattr(parts, "evaluate_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_barrier(NET, PATHS, DATA, work=WorkFolder(tmp_path / "cut"), **OPTIONS)
    kept = len(list((tmp_path / "cut").glob("evaluation-*.nc"))) if after else 0
    assert kept == after
    again: list[np.ndarray] = []
    monkeypatch.setattr(parts, "evaluate_path", lambda *args, **o: (again.append(args[2]), original(*args, **o))[1])
    same(measure_barrier(NET, PATHS, DATA, work=WorkFolder(tmp_path / "cut"), **OPTIONS), whole)
    assert len(again) == 8 - after


def test_a_damaged_part_is_made_again_and_told_of(tmp_path: Path, small_parts, calls):
    told: list[str] = []
    folder = WorkFolder(tmp_path, told.append)
    whole = measure_barrier(NET, PATHS, DATA, work=folder, **OPTIONS)
    del calls[:]
    victim = sorted(tmp_path.glob("evaluation-*.nc"))[3]
    victim.write_bytes(victim.read_bytes()[:-500])
    same(measure_barrier(NET, PATHS, DATA, work=folder, **OPTIONS), whole)
    assert len(calls) == 1 and len(told) == 1 and victim.name in told[0]


@pytest.mark.parametrize(
    "change",
    [
        {"module": torch.nn.Sequential(*tiny_mlp()[:1], torch.nn.Tanh(), *tiny_mlp()[2:])},
        {"paths": LinearPath(A, C)},
        {"data": as_data((DATA.inputs + 1, DATA.targets))},
        {"loss": lambda outputs, targets: outputs.square().sum(1)},
        {"batch_size": 7},
        {"dtype": torch.float64},
        {"points": 5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_parts_of_other_work_are_never_taken(tmp_path: Path, calls, change):
    arguments = {"module": NET, "paths": PATHS["none"], "data": DATA, "points": 7, "resamples": 5}
    measure_barrier(**arguments, work=WorkFolder(tmp_path))
    measure_barrier(**{**arguments, **change}, work=WorkFolder(tmp_path))
    assert len(calls) == 2


def test_seed_and_confidence_need_no_new_evaluation(tmp_path: Path, calls):
    for seed in (0, 1):
        measure_barrier(NET, PATHS["none"], DATA, points=5, resamples=5, seed=seed, work=WorkFolder(tmp_path))
    assert len(calls) == 1


def test_a_row_is_the_same_alone_and_in_company():
    """Bit for bit, intervals included: rows share their resamples whether or not they are measured together."""
    draw = np.random.default_rng(0)
    many = {f"p{i}": LinearPath(A, tiny_mlp(seed=int(draw.integers(99))).state_dict()) for i in range(3)}
    for net_data in (DATA, as_data(fake_classification((6,), examples=501))):
        together = measure_barrier(NET, many, net_data, points=25, resamples=300)
        for name, path in many.items():
            alone = measure_barrier(NET, {name: path}, net_data, points=25, resamples=300)
            same(alone, together.sel(alignment=[name]))


def test_the_size_of_a_part_follows_the_work():
    """Kernels are used at every place, matrices once: as torch's own counter has it."""
    images = as_data(fake_classification((1, 8, 8)))
    for net, data in ((tiny_cnn(), images), (NET, DATA)):
        with FlopCounterMode(display=False) as counter:
            net(data.inputs[:1])
        setting = Setting(net, data, make_grid(3), (None, None))
        assert 1 <= parts.operations_per_example(setting) / counter.get_total_flops() < 1.3
