"""``lmc curve``, and the ways that ``lmc barrier`` may take: files in, files out, and what is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc import checkpoints, schema
from lmc.cli import main

DEMO = [str(Path(__file__).parents[2] / "data" / "checkpoints" / f"mlp-{k}.safetensors") for k in (1, 2)]
CNN = [name.replace("mlp", "cnn-bn") for name in DEMO]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A curve between the embedded networks, trained for a moment; what was printed; and its folder."""
    folder = tmp_path_factory.mktemp("curve")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["curve", *DEMO, "-o", "c.safetensors", "--steps", "150", "--points", "5", "--seed", "3"])
    return folder


def run(capsys, *args: object) -> dict:
    main([*map(str, args), "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_trained_curve_is_written_measured_and_drawn(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["c.safetensors", "curve.nc", "curve.png"]
    result = schema.read(trained / "curve.nc", "barrier")
    assert list(result.alignment.values) == ["straight", "curve"]
    straight, curve = result.loss_barrier.sel(baseline="chord").values
    assert curve < 0.5 * straight
    for name in ("curve_kind", "curve_steps", "curve_seed", "curve_seconds", "a_sha256", "model", "command"):
        assert name in result.attrs
    held = checkpoints.load(trained / "c.safetensors")
    assert held.metadata["lmc"]["curve"] == "bezier" and held.metadata["lmc"]["curve_steps"] == 150
    for k, file in ((0, DEMO[0]), (2, DEMO[1])):
        for name, tensor in checkpoints.load(file).state.items():
            assert torch.equal(held.state[f"{name}_{k}"], tensor), "the ends are the files themselves"


def test_a_written_curve_is_measured_again_with_the_same_numbers(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    told = run(capsys, "curve", *DEMO, "--along", "c.safetensors", "--points", 5, "--result", "again.nc")
    again, first = schema.read(trained / "again.nc"), schema.read(trained / "curve.nc")
    assert np.array_equal(again.example_loss, first.example_loss)
    straight, curve = told["paths"]
    assert straight["name"] == "straight" and straight["accuracy"] == first.accuracy[0].values.tolist()
    assert curve["worst"]["accuracy"] == min(curve["accuracy"])
    assert curve["loss_barrier"]["chord"] == float(first.loss_barrier[1].sel(baseline="chord"))
    assert told["settings"] == {"curve_source": "c.safetensors"}
    for name in ("again.nc", "again.png"):
        (trained / name).unlink()


def test_the_table_names_the_paths_and_the_worst_position(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    main(
        ["curve", *DEMO, "-o", "c.safetensors", "--kind", "polygonal", "--bends", "4", "--steps", "5", "--points", "3"]
    )
    out = capsys.readouterr().out
    for part in ("path  ", "straight  ", "curve  ", "polygonal chain of 4 bends", "5 steps in", "worst on the curve"):
        assert part in out
    assert "training  digits train" in out


def test_batchnorm_is_measured_on_both_paths(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    told = run(capsys, "curve", *CNN, "-o", "c.safetensors", "--steps", 2, "--points", 2, "--data", "digits")
    assert "reset on digits train" in schema.read(tmp_path / "curve.nc").attrs["batchnorm"]
    straight, curve = told["paths"]
    assert straight["accuracy"][0] == curve["accuracy"][0] and straight["accuracy"][-1] == curve["accuracy"][-1]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["curve", *DEMO], 2, "-o curve.safetensors"),
        (["curve", *DEMO, "-o", "c.safetensors", "--along", "c.safetensors"], 2, "--along FILE"),
        (["curve", *DEMO, "-o", "c.pt"], 2, "name it c.safetensors"),
        (["curve", *DEMO, "-o", "c.safetensors", "--kind", "bezir"], 2, "Did you mean 'bezier'"),
        (["curve", *DEMO, "-o", "c.safetensors", "--bends", "2"], 2, "at least 3"),
        (["curve", *DEMO, "-o", "c.safetensors", "--points", "1"], 2, "2"),
        (["curve", *DEMO, "-o", "c.safetensors", "--figure", "c.pgn"], 2, "Did you mean 'png'"),
        (["curve", *DEMO, "--along", DEMO[0]], 3, "holds no curve"),
        (["curve", *DEMO, "--along", "nowhere.pt"], 3, "nowhere.pt"),
        (["barrier", *DEMO, "--path", "sphere"], 2, "Did you mean 'spherical'"),
        (["barrier", *DEMO, "--path", "spherical", "--via", DEMO[0]], 2, "straight lines"),
        (["barrier", *DEMO, "--only", "fc9"], 2, "Did you mean 'fc"),
        (["barrier", *DEMO, "--via", CNN[0]], 3, "cnn-bn-1.safetensors"),
        (["barrier", *DEMO, "--via", "nowhere.pt"], 3, "nowhere.pt"),
    ],
)
def test_mistakes_end_with_their_exit_code_and_the_fix_and_leave_nothing(
    capsys, monkeypatch, tmp_path, args, code, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_curve_between_the_ends_in_the_wrong_order_is_refused(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    with pytest.raises(SystemExit) as ended:
        main(["curve", *DEMO[::-1], "--along", "c.safetensors"])
    assert ended.value.code == 3 and "A and B are swapped" in capsys.readouterr().err


def test_layer_wise_barriers_are_told_as_such(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    main(["barrier", *DEMO, "--only", "fc1", "--only", "fc3", "--points", "3", "-o", "l.nc"])
    out = capsys.readouterr().out
    assert (
        "only fc1, fc3: 4 of 6 tensors" in out and "the other end, B*, is A with these of B" in out and "  B*  " in out
    )
    assert "hint" not in out
    result = schema.read(tmp_path / "l.nc")
    assert json.loads(result.attrs["only"]) == ["fc1", "fc3"]
    assert "1 is B*: A with B's fc1, fc3" in result.t.attrs["long_name"]


def test_a_barrier_via_a_further_file(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    told = run(capsys, "barrier", *DEMO, "--via", DEMO[0], "--points", 3, "-o", "v.nc")
    none, weights = told["alignments"]
    assert told["via"][0]["source"] == DEMO[0] and "only" not in told and "path" not in told
    assert none["accuracy"][1] == none["accuracy"][0], "the midpoint is the file on the way, here A again"
    assert weights["accuracy"][1] == weights["accuracy"][0]
    (via,) = json.loads(schema.read(tmp_path / "v.nc").attrs["via"])
    assert via == {"source": DEMO[0], "sha256": checkpoints.load(DEMO[0]).digest}


def test_half_weights_on_the_way_are_aligned_in_single_precision(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    held = checkpoints.load(DEMO[1])
    half = {name: tensor.half() for name, tensor in held.state.items()}
    checkpoints.save(half, "half.safetensors", {"lmc": held.metadata["lmc"]})
    told = run(capsys, "barrier", *DEMO, "--via", "half.safetensors", "--points", 3, "--align", "weights", "-o", "h.nc")
    (row,) = told["alignments"]
    assert row["loss"][1] == pytest.approx(row["loss"][2], rel=1e-2), "B in half, aligned as B is"


def test_the_arc_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    main(["barrier", *DEMO, "--path", "spherical", "--align", "none", "--points", "3", "-o", "s.nc"])
    assert "spherical: every parameter tensor turns" in capsys.readouterr().out
    assert schema.read(tmp_path / "s.nc").attrs["interpolation"].startswith("spherical: 6 parameter tensors")
