"""``lmc fuse`` as a user meets it: files in, a file and a table out, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc import checkpoints, schema
from lmc.cli import main
from lmc.cli.loading import letters

DATA = Path(__file__).parents[2] / "data" / "checkpoints"
DEMO = [str(DATA / f"mlp-{k}.safetensors") for k in (1, 2)]
CNN = [name.replace("mlp", "cnn-bn") for name in DEMO]
ALIGNED = ["--method", "align-then-average"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The embedded pair fused, with table and figure, once for several tests: the folder and what was printed."""
    folder = tmp_path_factory.mktemp("fuse")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        args = [*ALIGNED, "-o", "f.safetensors", "--mix", "0.6,0.4", "--finetune", "1", "--result", "t.nc"]
        main(["fuse", *DEMO, *args, "--figure", "t.png"])
    return folder


def told(capsys, *args: str) -> dict:
    main([*args, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_network_is_written_so_that_it_is_known_again(run, capsys, monkeypatch):
    monkeypatch.chdir(run)
    held = checkpoints.load("f.safetensors")
    about = held.metadata["lmc"]
    assert about["data"] == "digits" and about["model"].startswith("mlp?widths=64,64,64,10")
    assert about["fused"]["method"] == "align-then-average" and about["fused"]["mix"] == pytest.approx([0.6, 0.4])
    assert about["fused"]["of"] == [checkpoints.load(path).digest for path in DEMO]
    assert "test_accuracy" not in about, "what was measured on a parent is not said of its child"
    first = checkpoints.load(DEMO[0]).state
    assert list(held.state) == list(first) and not torch.equal(held.state["fc1.weight"], first["fc1.weight"])
    # The file is what the table's last row was measured on.
    main(["barrier", "f.safetensors", DEMO[0], "--align", "none", "--points", "2", "-o", "b.nc"])
    table, barrier = schema.read("t.nc", "fusion"), schema.read("b.nc")
    roles = ["parent", "parent", "ensemble", "ensemble", "baseline", "fine-tuned", "fused", "fine-tuned"]
    assert list(table.role.values) == roles
    np.testing.assert_allclose(barrier.loss[0, 0], table.loss[-1], rtol=1e-5)
    np.testing.assert_allclose(barrier.loss[0, -1], table.loss[0], rtol=1e-5)
    for name in ("b.nc", "b.png"):
        (run / name).unlink()


def test_the_result_carries_provenance_and_a_figure(run):
    table = schema.read(run / "t.nc", "fusion")
    assert sorted(path.name for path in run.iterdir()) == ["f.safetensors", "t.nc", "t.png"]
    for name in ("a_sha256", "b_source", "model", "command", "train_digest", "data_digest", "versions", "finetune"):
        assert name in table.attrs
    assert list(table.model.values[:2]) == ["mlp-1.safetensors", "mlp-2.safetensors"]
    assert float(table.accuracy.sel(model="align-then-average")) > float(table.accuracy.sel(model="vanilla")) + 0.1


def test_json_has_every_row_and_the_table_names_them(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = told(capsys, "fuse", *DEMO, "--method", "vanilla", "-o", "v.safetensors", "--data", "digits?limit=100")
    assert [row["name"] for row in found["rows"]][-1] == "vanilla" and found["rows"][0]["role"] == "parent"
    assert found["rows"][0]["seconds"] is None and found["written"] == ["v.safetensors"]
    low, high = found["rows"][-1]["accuracy"]["ci"]
    assert low <= found["rows"][-1]["accuracy"]["value"] <= high
    main(["fuse", *DEMO, "--method", "ensemble?of=probabilities", "--result", "e.nc", "--data", "digits?limit=100"])
    out = capsys.readouterr().out
    for part in ("ensemble (logits)", "ensemble?of=probabilities", "accuracy", "17,940", "wrote e.nc"):
        assert part in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.nc", "v.safetensors"]


def test_task_vectors_take_a_base_and_batchnorm_is_reset(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = ["--data", "digits?limit=100", "--recalibrate", "-o", "x.safetensors"]
    found = told(capsys, "fuse", *CNN, "--method", "task-arithmetic?scaling=0.5", "--base", CNN[0], *small)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["task-arithmetic?scaling=0.5"]["loss"] == rows["vanilla"]["loss"], "half of two task vectors: the mean"
    assert "base" in checkpoints.load("x.safetensors").metadata["lmc"]["fused"]


def test_citations_of_fusions(capsys):
    main(["cite", "--fuse", "fisher", "--fuse", "vanilla"])
    out = capsys.readouterr().out
    assert "matena2022merging" in out and "% vanilla: no paper of its own" in out and "singh2020" not in out
    main(["cite"])
    out = capsys.readouterr().out
    assert "matena2022merging" in out and "ainsworth2023git" in out


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ([*DEMO, *ALIGNED], 2, "-o fused.safetensors"),
        ([*DEMO, *ALIGNED, "-o", "f.pt"], 2, "name it f.safetensors"),
        ([*DEMO, *ALIGNED, "-o", DEMO[1]], 2, "is an input"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--figure", "t.pgn"], 2, "Did you mean 'png'"),
        ([*DEMO, "-o", "f.safetensors", "--method", "fishr"], 2, "Did you mean 'fisher'"),
        ([*DEMO, "-o", "f.safetensors", "--method", "fisher?exmples=3"], 2, "Did you mean 'examples'"),
        ([*DEMO, "-o", "f.safetensors", "--method", "ties"], 2, "pass base"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--mix", "0.5,0.2,0.3"], 2, "3 shares (mix) for 2 networks"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--mix", "half"], 2, "--mix 'half'"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--finetune", "-1"], 2, "from 0 up"),
        ([DEMO[0], *ALIGNED, "-o", "f.safetensors"], 2, "one alone needs --widths"),
        (
            [*DEMO, *ALIGNED, "-o", "f.safetensors", "--widths", "5"],
            2,
            "1 widths for 2 groups of units (fc1 64",
        ),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--widths", "5,5"], 2, "networks of one width only"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--widths", "5,5", "--into", "mlp"], 2, "pass one of them"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--plane", "p.nc", "--widths", "5,5"], 2, "--plane goes through two"),
        ([*DEMO, "-o", "f.safetensors", "--method", "ensemble"], 2, "An ensemble is no single network"),
        (
            [*DEMO, "-o", "f.safetensors", "--method", "soup", "--split", "train"],
            2,
            "100% of the examples",
        ),
        ([DEMO[0], CNN[0], *ALIGNED, "-o", "f.safetensors"], 3, "differ in their tensors"),
        ([DEMO[0], "nowhere.pt", *ALIGNED, "-o", "f.safetensors"], 3, "nowhere.pt"),
        ([*DEMO, *ALIGNED, "-o", "f.safetensors", "--data", "nowhere.npz"], 3, "nowhere.npz"),
    ],
)
def test_mistakes_end_with_their_exit_code_and_the_fix_and_leave_nothing(
    capsys, monkeypatch, tmp_path, args, code, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["fuse", *args])
    assert ended.value.code == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_checkpoint_has_letters_of_its_own():
    assert [letters(number) for number in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        *("A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA")
    ]
