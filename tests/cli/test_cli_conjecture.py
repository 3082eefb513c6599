"""``lmc conjecture`` as a user meets it: a verdict on the embedded pair, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

from lmc import schema
from lmc.cli import main

DEMO = [str(path) for path in sorted((Path(__file__).parents[2] / "data" / "checkpoints").glob("mlp-*.safetensors"))]
QUICK = ["--align", "none", "--align", "weights?restarts=1&scale=plain", "--points", "9"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run one command in this process; return its exit code and what it wrote."""
    code: Any = 0
    try:
        main(["conjecture", *words])
    except SystemExit as left:
        code = left.code
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Make a checkpoint of another network than the demo's."""
    state = safetensors.torch.load_file(DEMO[0])
    last = list(state)[-2:]
    state |= {name: state[name][:3].clone() for name in last}
    path = tmp_path / "three-classes.safetensors"
    safetensors.torch.save_file(state, path)
    return str(path)


def test_a_verdict_is_told_and_written(capsys, tmp_path, other):
    output = tmp_path / "verdict.nc"
    code, out, _ = run(capsys, *DEMO, other, *QUICK, "-o", str(output), "--json")
    told = json.loads(out)
    assert code == 0 and told["written"] == [str(output)]
    result = schema.read(output, "conjecture")
    assert result.sizes["pair"] == 1 and result.attrs["command"].startswith("lmc")
    status = dict(zip(result.model.values.tolist(), result.model_status.values.tolist(), strict=True))
    assert status["three-classes.safetensors"].startswith("refused: ")
    assert str(tmp_path) not in status["three-classes.safetensors"], "files by their short names"
    tried = result.tried.values[0]
    assert np.isfinite(result.barrier.values[0][tried]).all() and result.control_passed.values[0]


def test_a_table_is_for_people(capsys, tmp_path):
    code, out, _ = run(capsys, *DEMO, *QUICK, "--no-controls", "-o", str(tmp_path / "v.nc"))
    assert code == 0 and "verdict   2 models, 1 pair" in out and "no controls were run" in out
    assert "verified" in out and "more examples would decide" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([DEMO[0]], 2, "Two checkpoints or more"),
        ([DEMO[0], DEMO[0]], 2, "given twice"),
        ([*DEMO, "--budget", "soon"], 2, "90s, 10m or 2h"),
        ([*DEMO, "--align", "wieghts"], 2, "weights"),
        ([*DEMO, "--tolerance", "0"], 2, "tolerance must be"),
        ([DEMO[0], "nowhere.pt"], 3, "nowhere.pt"),
    ],
)
def test_bad_requests_are_refused(capsys, tmp_path, words, code, message):
    left, _, err = run(capsys, *words, "-o", str(tmp_path / "v.nc"))
    assert left == code and message in err
    assert not (tmp_path / "v.nc").exists()
