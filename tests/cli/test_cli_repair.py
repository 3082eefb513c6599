"""``lmc barrier --repair`` as a process: what it prints and stores; and that it stands in place of --recalibrate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.running import lmc

from lmc import schema
from lmc.cli.repair_lines import repair_lines

DEMO = sorted((Path(__file__).parents[2] / "data" / "checkpoints").glob("mlp-*.safetensors"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repair")
    done = lmc("barrier", *DEMO, "--points", 3, "--repair", "--json", "-o", "out.nc", cwd=folder)
    assert done.returncode == 0, done.stderr
    return schema.read(folder / "out.nc", "barrier"), json.loads(done.stdout), done.stderr


def test_the_result_and_the_json_hold_what_the_repair_did(run) -> None:
    dataset, told, notes = run
    assert "statistics of units on digits train" in notes
    for row, name in zip(told["alignments"], dataset.alignment.values, strict=True):
        one = dataset.sel(alignment=name)
        assert row["repair"]["unrepaired"]["loss"] == pytest.approx(float(one.unrepaired_loss))
        assert [layer["name"] for layer in row["repair"]["layers"]] == list(dataset.layer.values)
        for layer in row["repair"]["layers"]:
            assert layer["treatment"] == "scale and shift"
            assert layer["std"]["before"] < 0.95 and layer["std"]["after"] == pytest.approx(1, abs=1e-4)


def test_the_lines_say_what_was_gained(run) -> None:
    dataset, _, _ = run
    head, *rows = repair_lines(dataset)[1:]
    assert head.startswith("REPAIR: means and standard deviations of 2 layers set on digits train")
    for line, name in zip(rows, dataset.alignment.values, strict=True):
        after = 100 * float(dataset.accuracy.sel(alignment=name, t=0.5))
        assert line.startswith(f"{name}: midpoint loss") and f"-> {after:.2f}" in line
    assert repair_lines(dataset.drop_vars("unrepaired_loss")) == []


def test_both_protocols_at_once_end_with_2_and_say_so(tmp_path) -> None:
    done = lmc("barrier", *DEMO, "--repair", "--recalibrate", cwd=tmp_path)
    assert done.returncode == 2 and "give one" in done.stderr
    assert not list(tmp_path.iterdir())
