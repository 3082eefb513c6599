"""The studies: what they share finds its parts again, and what they have written is valid and small."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from lmc import schema

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "data").glob("[12][0-9]_*.nc"))
calls: list[int] = []


def twice(n: int) -> dict[str, np.ndarray]:
    if n < 0:
        raise ValueError("negative")
    calls.append(n)
    return {"values": np.arange(n) * 2, "nothing": np.array(np.nan)}


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_committed_results_are_valid_small_and_have_their_script(file: Path):
    result = schema.read(file)
    assert list((ROOT / "analyses").glob(f"{file.stem[:2]}_*.py")), "a script of its number"
    assert file.stat().st_size < 300_000
    if result.attrs["lmc_kind"] != "study":
        return
    assert set(result.outcome.values.tolist()) <= set(schema.OUTCOMES)
    low, high = result.estimate_ci.transpose("bound", "claim").values
    assert np.all(low <= high)
    assert all(str(text) for text in result.literature.values)


def test_results_are_found():
    assert len(RESULTS) >= 3


def test_parts_are_made_once_and_again_when_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses"))
    common = importlib.import_module("common")
    try:
        monkeypatch.setattr(sys, "argv", ["x", "--work", str(tmp_path / "work"), "--output", str(tmp_path / "x.nc")])
        calls.clear()
        for _ in range(2):
            study = common.Study(__file__, "Does it resume?")
            found = study.part(twice, n=3)
            assert found["values"].tolist() == [0, 2, 4] and np.isnan(found["nothing"])
            study.part(twice, n=2)
            claim = common.Claim("it does", 1.0, (0.5, 1.5), "1", "nobody says so", holds=True)
            study.write({"seed": ("seed", [1]), "y": ("seed", [2.0], "a value", "1")}, [claim])
        assert calls == [3, 2]
        written = schema.read(tmp_path / "x.nc", "study")
        assert written.outcome.item() == "reproduced"
        monkeypatch.setitem(study._settings, "data", "others")
        study.part(twice, n=3)
        assert calls == [3, 2, 3], "other data are other work"
        spent = dict(study._spent)
        with pytest.raises(ValueError, match="negative"):
            study.part(twice, n=-1)
        assert spent and study._spent == spent, "the time of parts that were made outlives one that fails"
    finally:
        sys.modules.pop("common", None)


def test_an_interval_is_students():
    sys.path.insert(0, str(ROOT / "analyses"))
    try:
        from common import mean_over_runs
    finally:
        sys.path.remove(str(ROOT / "analyses"))
        sys.modules.pop("common", None)
    mean, (low, high) = mean_over_runs([1.0, 3.0])
    assert mean == 2.0
    np.testing.assert_allclose([low, high], [2 - 12.706, 2 + 12.706], atol=1e-3)
