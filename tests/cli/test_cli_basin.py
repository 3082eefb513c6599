"""``lmc basin`` as a user meets it: through two, three or around one, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from minimax import bottleneck

from lmc import schema
from lmc.cli import main

ROOT = Path(__file__).parents[2]
DEMO = [str(path) for path in sorted((ROOT / "data" / "checkpoints").glob("mlp-*.safetensors"))]
SMALL = ["--data", "digits?limit=200", "--resolution", "6"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The plane through the embedded pair and the aligned copy, as a process, once for several tests."""
    folder = tmp_path_factory.mktemp("basin")
    command = [sys.executable, "-m", "lmc", "basin", *DEMO[:2], "--resolution", "9", "-o", "out.nc", "--json"]
    command += ["--figure", "out.svg", "--surface", "surface.png"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_json_is_one_object_with_everything_promised(run):
    folder, told, notes = run
    assert [mode["name"] for mode in told["modes"]] == ["A", "B", "B aligned"]
    assert [mode["copy_of"] for mode in told["modes"]] == [None, None, "B"]
    assert told["modes"][1]["loss"] == pytest.approx(told["modes"][2]["loss"], rel=1e-5), "the same function"
    assert [saddle["modes"] for saddle in told["saddles"]] == [["A", "B"], ["A", "B aligned"], ["B", "B aligned"]]
    for saddle in told["saddles"]:
        for kind in ("loss", "error"):
            low, high = saddle[kind]["ci"]
            assert low <= saddle[kind]["value"] <= high
    assert told["written"] == sorted(path.name for path in folder.iterdir())
    assert "verified" in notes


def test_the_aligned_copy_shares_the_basin_that_the_original_does_not(run):
    _, told, _ = run
    (level,) = told["levels"]
    assert [one["modes"] for one in level["components"]] == [["A", "B aligned"], ["B"]]
    ab, aligned, _ = (saddle["loss"]["value"] for saddle in told["saddles"])
    assert aligned <= level["loss"] < ab


def test_the_netcdf_holds_what_was_told_and_its_provenance(run):
    folder, told, _ = run
    dataset = schema.read(folder / "out.nc", "basin")
    assert float(dataset.saddle_loss.sel(mode="A", other="B")) == told["saddles"][0]["loss"]["value"]
    assert dataset.a_sha256 == told["checkpoints"][0]["sha256"]
    for name in ("b_source", "model", "alignments", "alignment_message", "plane", "command", "data_digest", "versions"):
        assert dataset.attrs[name] != ""


def test_three_checkpoints_span_their_plane(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["train", "mlp?widths=64,16,10", "--data", "digits", "--epochs", "1", "-o", "a.safetensors"])
    for seed, name in ((1, "b"), (2, "c")):
        flags = ["--data", "digits", "--epochs", "1", "--seed", str(seed), "-o", f"{name}.safetensors"]
        main(["train", "mlp?widths=64,16,10", *flags])
    capsys.readouterr()
    main(["basin", "a.safetensors", "b.safetensors", "c.safetensors", *SMALL, "--level", "1.5", "--level", "3"])
    told = capsys.readouterr().out
    for part in ("A and B ", "B and C ", "loss <= 1.5", "loss <= 3", "wrote basin.nc, basin.png"):
        assert part in told
    assert "symmetry" not in told and "nan" not in told


def test_around_one_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["basin", DEMO[0], "--random-directions", *SMALL, "--json", "--seed", "3", "--margin", "0.5", "--examples"])
    told = json.loads(capsys.readouterr().out)
    assert told["saddles"] == [] and [mode["name"] for mode in told["modes"]] == ["A"]
    dataset = schema.read("basin.nc", "basin")
    assert "seed 3" in dataset.attrs["plane"] and float(dataset.u[0]) == -0.5
    assert dataset.sizes["example"] == 200


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([DEMO[0]], "--random-directions"),
        ([*DEMO[:2], "--random-directions"], "around one checkpoint"),
        ([DEMO[0], "--random-directions", "--align", "weights"], "third mode of two"),
        ([*DEMO[:2], "--align", "none"], "needs one alignment that moves B"),
        ([*DEMO[:2], "--align", "wieghts"], "Did you mean 'weights'"),
        ([*DEMO[:2], "--resolution", "2"], "3 points a side"),
        ([*DEMO[:2], "--margin", "-1"], "margin"),
        ([*DEMO[:2], "--neighbours", "6"], "4 or 8"),
        ([*DEMO[:2], "--figure", "out.pgn"], "Did you mean 'png'"),
        ([*DEMO[:2], "-o", "out.txt"], "out.nc"),
    ],
    ids=lambda value: " ".join(Path(v).name for v in value)[:50] if isinstance(value, list) else None,
)
def test_mistakes_end_with_their_exit_code_and_the_fix(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["basin", *args])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_and_itself_span_no_plane(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["basin", DEMO[0], DEMO[0], *SMALL])
    assert ended.value.code == 3
    assert "A and B are the same weights" in capsys.readouterr().err


@pytest.mark.shared
def test_the_public_pair_lies_in_two_basins_and_its_aligned_copy_in_one(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = [str(shared_data / "checkpoints" / "otfusion-mnist-mlp" / f"{k}.checkpoint") for k in (0, 1)]
    flags = ["--data", "mnist?limit=1000", "--data-dir", str(shared_data), "--resolution", "11", "--json"]
    main(["basin", *files, *flags, "-o", "out.nc"])
    told = json.loads(capsys.readouterr().out)
    (level,) = told["levels"]
    assert [one["modes"] for one in level["components"]] == [["A", "B aligned"], ["B"]]
    apart, joined, _ = (saddle["loss"] for saddle in told["saddles"])
    assert joined["ci"][1] < level["loss"] < apart["ci"][0], "the level lies clear of both intervals"
    dataset = schema.read("out.nc")
    places = zip(dataset.mode_u.values, dataset.mode_v.values, strict=True)
    nodes = [(dataset.u.values.tolist().index(u), dataset.v.values.tolist().index(v)) for u, v in places]
    for kind, field in (("loss", dataset.loss.values), ("error", 1 - dataset.accuracy.values)):
        found = [[bottleneck(field, start, 4)[node] for node in nodes] for start in nodes]
        np.testing.assert_array_equal(dataset[f"saddle_{kind}"], found)
