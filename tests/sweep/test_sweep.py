"""A sweep in one process: planned, done, collected; its numbers are those of lmc.barrier."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sweep.conftest import SWEEP, save_run

import lmc
from lmc import schema
from lmc.cli import main
from lmc.datasets import open_data
from lmc.pipeline import load_pair
from lmc.sweep import InProcess, collect, make_plan, parse_sweep, read_plan, read_sweep, run_sweep
from lmc.sweep.journal import read_journal


def sweep(study: Path, **options):
    return run_sweep(make_plan(read_sweep(study / "sweep.toml")), study / "results", InProcess(), **options)


def test_a_sweep_measures_what_barrier_measures_and_nothing_twice(study: Path, capsys):
    Path("sweep.toml").write_text(SWEEP.replace('"none"', '"none", "weights?restarts=1"'))
    main(["sweep", "sweep.toml", "-o", "results"])
    out = capsys.readouterr().out
    assert "6 pairs x 2 alignments" in out and "12 computed" in out
    assert out.count("progress") == 10, "a line every tenth of the way"
    main(["sweep", "sweep.toml", "-o", "results"])
    assert "0 computed, 12 were there, 0 failed" in capsys.readouterr().out
    main(["collect", "results", "-o", "sweep.nc", "--json"])
    assert json.loads(capsys.readouterr().out) == {"done": 12, "failed": 0, "missing": 0, "output": "sweep.nc"}
    found = schema.read("sweep.nc", "sweep")
    assert found.width.values.tolist() == [4, 4, 4, 5, 5, 5]
    assert found.seed_a.values.tolist() == [0, 0, 1] * 2 and found.seed_b.values.tolist() == [1, 2, 2] * 2
    data = open_data("d.npz")
    row = found.sel(pair=4)
    pair = load_pair("runs/width5/seed0.safetensors", "runs/width5/seed2.safetensors", input_shape=(6,), num_classes=3)
    module = pair.a.architecture.module
    direct = lmc.barrier(module, pair.a.state, pair.b.state, data, points=3, align=found.alignment.values.tolist())
    shared = [name for name in schema.SWEEP if name in direct.variables and not name.startswith("seconds")]
    assert {"loss", "accuracy_ci", "error_barrier", "objective", "alignment_message"} <= set(shared)
    for name in shared:
        np.testing.assert_array_equal(row[name].values, direct[name].values, err_msg=name)
    assert len(list((study / "results" / "symmetries").glob("*.nc"))) == 2, "one of each width"
    events = [event["event"] for event in read_journal(study / "results")]
    assert events.count("begin") == events.count("done") == 12


def test_a_partial_folder_collects_and_new_checkpoints_cost_only_their_own_units(study: Path):
    sweep(study)
    victim = min((study / "results").glob("barrier-*.nc"))
    victim.unlink()
    found = collect(study / "results")
    assert found.attrs["units_missing"] == 1 and (found.status == "missing").sum() == 1
    gap = found.where(found.status == "missing", drop=True)
    assert np.isnan(gap.loss).all()
    save_run(study, 4, 3)
    summary = sweep(study)
    assert (summary.computed, summary.found) == (1 + 3, 5)


def test_a_unit_may_keep_its_examples_and_is_then_a_barrier(study: Path):
    (study / "sweep.toml").write_text(SWEEP.replace("points = 3", "points = 3\nkeep_examples = true"))
    sweep(study)
    plain = collect(study / "results")
    unit = sorted((study / "results").glob("barrier-*.nc"))[0]
    assert schema.read(unit, "barrier").sizes["example"] == 40
    (study / "sweep.toml").write_text(SWEEP)
    summary = sweep(study)
    assert summary.computed == 6, "settings that change the file are part of its name"
    same = collect(study / "results")
    timings = [name for name in same.variables if str(name).startswith("seconds")]
    xr.testing.assert_identical(plain.drop_vars(timings).drop_attrs(), same.drop_vars(timings).drop_attrs())


def test_the_plan_comes_back_as_it_was_and_of_another_version_is_refused_by_name(study: Path):
    plan = make_plan(read_sweep("sweep.toml"))
    (study / "results").mkdir()
    path = plan.write(study / "results")
    again = read_plan(study / "results")
    assert again.context.text == plan.context.text and again.members == plan.members and again.settings == plan.settings
    assert [unit.digest for _, _, unit in again.units()] == [unit.digest for _, _, unit in plan.units()]
    path.write_text(path.read_text().replace('"lmc_plan_version": 1', '"lmc_plan_version": 7'))
    with pytest.raises(lmc.LmcError, match="of version 7, this lmc reads version 1: run its sweep file again"):
        read_plan(study / "results")


@pytest.mark.parametrize(
    ("table", "entry", "message"),
    [
        ("measure", {"points": 1}, "2 points or more"),
        ("measure", {"confidence": 95.0}, "confidence must lie between 0 and 1"),
        ("measure", {"also": ["sharpnes"]}, "Did you mean 'sharpness'"),
        ("measure", {"device": "gpu"}, "device is 'gpu'"),
        ("execution", {"workers": 0}, "workers must be at least 1, got 0"),
        ("pairs", {"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_what_no_unit_could_be_computed_with_is_refused_when_it_is_planned(study, table, entry, message):
    told = tomllib.loads((study / "sweep.toml").read_text())
    told[table] = {**told.get(table, {}), **entry}
    with pytest.raises(lmc.LmcError, match=message):
        make_plan(parse_sweep(told))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"mesure": {}}, "no table 'mesure'. Did you mean 'measure'"),
        ({"measure": {"point": 3}}, r"\[measure\] has no entry 'point'. Did you mean 'points'"),
        ({"measure": {"points": "3"}}, r"\[measure\] points is '3': write a whole number"),
        ({"measure": {"dtype": "flaot32"}}, r"\[measure\] dtype is 'flaot32'. Did you mean 'float32'"),
    ],
)
def test_a_wrong_word_of_a_sweep_file_is_refused_before_any_work(table: dict, message: str):
    checkpoints = {"checkpoints": {"paths": "*.pt"}}
    with pytest.raises(lmc.LmcError, match=message):
        parse_sweep({**checkpoints, **table})
