"""The command line with losses of one's own, further quantities, and text: from training to the result file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc import checkpoints, schema
from lmc.cli import main
from lmc.testing import tiny_mlp

ROOT = Path(__file__).parents[2]
DEMO = [str(path) for path in sorted((ROOT / "data" / "checkpoints").glob("mlp-*.safetensors"))]


@pytest.fixture
def here(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_json_carries_the_quantities_and_the_file_the_examples(here, capsys):
    also = ["--also", "disagreement", "--also", "closeness", "--also", "sharpness", "--also", "top5"]
    main(["barrier", *DEMO, "--points", "5", "--json", "-o", "out.nc", *also])
    result = schema.read("out.nc", "barrier")
    for row in told(capsys)["alignments"]:
        one = result.sel(alignment=row["name"])
        assert row["weight_distance"] == float(one.weight_distance)
        assert set(row["class_loss_barrier"]) == set(map(str, range(10)))
        assert row["loss_curvature"] == dict(zip("AB", one.loss_curvature.values.tolist(), strict=True))
        assert row["disagreement"]["A and midpoint"] == float(one.disagreement[1])
        assert list(row["closeness"]) == ["fc1", "fc2", "fc3"]
        assert len(row["top5_accuracy"]) == 5 and row["sharpness_converged"] == {"A": True, "B": True}
        assert 0 <= row["broken"] <= row["disagreement"]["A and midpoint"]
    for variable in result.variables.values():
        assert variable.attrs["long_name"] and variable.attrs["units"]
    assert float(result.weight_distance[1]) < float(result.weight_distance[0]), "aligned ends are closer"
    np.testing.assert_allclose(result.sharpness[0], result.sharpness[1], rtol=1e-2)  # permutations leave it alone


def test_a_loss_of_ones_own_by_import_path(here, capsys):
    (here / "mine.py").write_text("def margin(outputs, targets):\n    return outputs.square().sum(1)\n")
    main(["barrier", *DEMO, "--points", "3", "--align", "none", "--loss", "mine.py:margin", "-o", "out.nc"])
    result = schema.read("out.nc")
    assert result.attrs["loss_function"] == "margin" and result.attrs["loss"] == "mine.py:margin"
    assert result.loss.attrs["units"] == result.loss_curvature.attrs["units"] == "1"
    capsys.readouterr()
    with pytest.raises(SystemExit, match="3"):
        main(["barrier", *DEMO, "--loss", "mine.py:margn"])
    assert "Did you mean 'margin'" in capsys.readouterr().err


def test_unknown_quantities_end_before_any_work(here, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["barrier", "nowhere.pt", "nowhere.pt", "--also", "sharpnes"])
    assert "Did you mean 'sharpness'" in capsys.readouterr().err


def test_a_language_model_from_training_to_its_barrier(here, capsys):
    """Two small GPTs on a made-up text: losses are per token, accuracies shares of tokens."""
    draw = np.random.default_rng(0)
    words = ["the", "path", "between", "two", "modes", "is", "low"]
    (here / "tiny.txt").write_text(" ".join(words[i] for i in draw.integers(0, len(words), 1500)))
    data = ["--data", "text:tiny.txt?block=16"]
    for seed in ("1", "2"):
        network = ["train", "gpt?dim=16&depth=1&heads=2", *data, "--epochs", "2", "--seed", seed]
        main([*network, "-o", f"g{seed}.safetensors"])
    capsys.readouterr()
    also = ["--also", "disagreement", "--also", "closeness", "--also", "top5", "--also", "sharpness"]
    pair = ["g1.safetensors", "g2.safetensors"]
    network = ["--model", "gpt?heads=2"]
    main(["barrier", *pair, *data, *network, "--points", "3", "--json", "-o", "out.nc", *also])
    rows = told(capsys)["alignments"]
    result = schema.read("out.nc", "barrier")
    assert result.attrs["task"] == "tokens" and result.loss.attrs["units"] == "nats"
    assert [row["name"] for row in rows] == ["none", "weights"]
    chance = np.log(len(set((here / "tiny.txt").read_text())))
    assert 0 < rows[0]["loss"][0] < chance, "nats for each token, not for each window"
    assert all(0 < accuracy < 1 for row in rows for accuracy in row["accuracy"])
    assert rows[0]["top5_accuracy"][0] >= rows[0]["accuracy"][0]
    assert "class_loss_barrier" not in result and "broken" not in result
    state = checkpoints.load("g1.safetensors").state
    assert torch.isfinite(next(iter(state.values()))).all()


@pytest.mark.shared
def test_shakespeare_in_small(here, capsys, shared_data):
    """The real text, a few steps: the path through the windows of a real vocabulary."""
    text = shared_data / "text" / "tiny-shakespeare.txt"
    found = [text] if text.is_file() else sorted((shared_data / "text").glob("*.txt"))
    assert found, f"no text under {shared_data / 'text'}"
    sample = here / "short.txt"
    sample.write_text(found[0].read_text()[:40000])
    data = ["--data", "text:short.txt?block=32"]
    for seed in ("1", "2"):
        main(["train", "gpt?dim=16&depth=1", *data, "--epochs", "1", "--seed", seed, "-o", f"g{seed}.safetensors"])
    capsys.readouterr()
    main(["barrier", "g1.safetensors", "g2.safetensors", *data, "--points", "3", "--json", "-o", "out.nc"])
    for row in told(capsys)["alignments"]:
        assert 1 < row["loss"][0] < 4.2 and row["loss_barrier"]["chord"]["value"] >= 0


def test_a_regression_has_the_quantities_that_mean_something(here, capsys):
    draw = np.random.default_rng(0)
    np.savez("r.npz", x=draw.normal(size=(60, 6)).astype(np.float32), y=draw.normal(size=(60, 3)).astype(np.float32))
    (here / "net.py").write_text("from lmc.testing import tiny_mlp as net\n")
    for seed in (1, 2):
        checkpoints.save(tiny_mlp(seed=seed).state_dict(), here / f"r{seed}.safetensors")
    pair = ["r1.safetensors", "r2.safetensors", "--model", "net.py:net", "--data", "r.npz"]
    main(["barrier", *pair, "--points", "3", "--json", "-o", "out.nc"])
    (row, _) = told(capsys)["alignments"]
    assert "accuracy" not in row and "broken" not in row and row["weight_distance"] > 0
    assert schema.read("out.nc").example_barrier.attrs["units"] == "1"
