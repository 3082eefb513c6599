"""``lmc barrier --adaptive``: verdicts, what they rest on, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmc import schema
from lmc.cli import main

ROOT = Path(__file__).parents[2]
DEMO = sorted((ROOT / "data" / "checkpoints").glob("mlp-*.safetensors"))


def run(capsys, *args: object) -> str:
    main(["barrier", *map(str, args), "--adaptive"])
    return capsys.readouterr().out


def test_the_table_has_a_verdict_for_each_alignment(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    told = run(capsys, *DEMO, "--tolerance", 0.05)
    none, weights = (next(x for x in told.splitlines() if x.startswith(name)) for name in ("none ", "weights "))
    assert "  above  " in none and "  below tolerance  " in weights
    assert "tolerance 0.05, on a grid of 25 positions" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["barrier.nc", "barrier.png"]
    schema.read(tmp_path / "barrier.nc", "adaptive")


def test_json_has_open_bounds_as_null_and_counts_that_add_up(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(run(capsys, *DEMO, "--align", "none", "--json", "--confidence", 0.9, "--metric", "error"))
    (row,) = told["alignments"]
    assert row["verdict"] == "above" and told["metric"] == "error" and told["confidence"] == 0.9
    assert row["barrier"]["ci"][0] > told["tolerance"] and row["barrier"]["ci"][1] is None
    assert sum(row["examples"]) == row["evaluations"] == row["looks"][-1]["evaluations"] < told["evaluations_full"]
    assert [rise is None for rise in row["rise"]] == [count == 0 for count in row["examples"]]


@pytest.mark.shared
def test_the_public_pair_takes_less_than_an_eighth_of_the_evaluations(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pair = [shared_data / "checkpoints" / "otfusion-mnist-mlp" / f"{i}.checkpoint" for i in (0, 1)]
    data = ("--data", "mnist", "--data-dir", shared_data)
    told = json.loads(run(capsys, *pair, *data, "--align", "none", "--align", "weights", "--tolerance", 0.02, "--json"))
    assert told["evaluations_full"] == 25 * 10_000
    for row in told["alignments"]:  # barriers of 1.19 and of 0.05
        assert row["verdict"] == "above"
        assert row["evaluations"] <= told["evaluations_full"] / 8
