"""A barrier as a unit of work: told by paths and settings, computed once, alignments kept."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import lmc
from lmc import checkpoints, schema
from lmc.pipeline import BarrierTask, barrier_unit, compare, prove
from lmc.pipeline.kept import kept_alignment
from lmc.testing import fake_classification, tiny_mlp
from lmc.units import WorkFolder

ROOT = Path(__file__).parents[2]
DEMO = [str(path) for path in sorted((ROOT / "data" / "checkpoints").glob("mlp-*.safetensors"))]
TASK = BarrierTask(*DEMO, align="weights?restarts=2", points=3)


def test_a_task_is_computed_once_and_gives_what_barrier_gives(tmp_path: Path, monkeypatch):
    folder = WorkFolder(tmp_path)
    found = TASK.run(folder)
    schema.validate(found, "barrier")
    assert [path.name for path in tmp_path.iterdir()] == [TASK.unit.filename], "its parts are gone"
    monkeypatch.setattr("lmc.pipeline.units.barrier", None)
    again = replace(TASK).run(WorkFolder(tmp_path))
    xr.testing.assert_identical(again.drop_attrs(), found.drop_attrs())
    assert schema.read(tmp_path / TASK.unit.filename).alignment.values.tolist() == ["weights?restarts=2"]


def test_a_task_may_look_at_examples_and_repair(tmp_path: Path):
    found = replace(TASK, align="activations?examples=200", repair=True).run(WorkFolder(tmp_path))
    assert "unrepaired_loss" in found and "train" in found.attrs["repair"]
    assert found.loss.sel(t=0.5).item() < found.unrepaired_loss.item(), "or nothing was repaired"


def test_a_task_travels_as_paths_and_settings():
    _ = TASK.unit
    sent = pickle.dumps(TASK)
    assert len(sent) < 2000
    assert pickle.loads(sent) == TASK and pickle.loads(sent).unit.digest == TASK.unit.digest


def test_a_moved_file_is_known_again(tmp_path: Path):
    copies = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for copy, source in zip(copies, DEMO, strict=True):
        copy.write_bytes(Path(source).read_bytes())
    assert replace(TASK, a=str(copies[0]), b=str(copies[1])).unit.digest == TASK.unit.digest


@pytest.mark.parametrize(
    "change",
    [
        {"b": DEMO[0]},
        {"align": "none"},
        {"align": "weights?restarts=3"},
        {"points": 5},
        {"seed": 1},
        {"dtype": "float64"},
        {"repair": True},
        {"data": "digits?limit=100"},
        {"split": "train"},
        {"also": ("disagreement",)},
        {"loss": "lmc.evaluation:cross_entropy"},
    ],
    ids=str,
)
def test_whatever_changes_the_result_changes_the_unit(change):
    assert replace(TASK, **change).unit.digest != TASK.unit.digest


NET, DATA = tiny_mlp(), fake_classification((6,), examples=40)
A, B = (tiny_mlp(seed=seed).state_dict() for seed in (1, 2))


def test_what_only_says_where_a_result_came_from_does_not():
    data = lmc.as_data(DATA)
    one = barrier_unit(NET, A, B, data, points=3, attrs={"command": "x"}, progress=print)
    assert one.digest == barrier_unit(NET, A, B, data, points=3).digest
    assert one.digest != barrier_unit(NET, B, A, data, points=3).digest


def test_an_alignment_is_not_searched_twice_and_comes_back_bit_for_bit(tmp_path: Path, monkeypatch):
    plain = lmc.barrier(NET, A, B, DATA, points=3)
    first = lmc.barrier(NET, A, B, DATA, points=3, work=WorkFolder(tmp_path))

    def never(*args, **options):
        raise AssertionError("searched twice")

    monkeypatch.setattr(compare, "align", never)
    again = lmc.barrier(NET, A, B, DATA, points=3, work=WorkFolder(tmp_path))
    for name in plain.variables:
        if not str(name).startswith("seconds"):
            np.testing.assert_array_equal(first[name].values, plain[name].values)
            np.testing.assert_array_equal(again[name].values, plain[name].values)
    assert again.attrs["alignments"] == plain.attrs["alignments"]


def test_tied_and_odd_tensors_come_back_as_they_were(tmp_path: Path):
    shared = torch.arange(4.0)
    state = {
        "a/b": shared,
        "tied": shared,
        "count": torch.tensor(3),
        "mask": torch.tensor([True, False]),
        "w.0": 2 * shared,
    }
    state["nothing"] = torch.zeros(0, 2)

    class Result:
        method, objective, message, seconds = "m", float("nan"), "", {"total": 1.5}
        hard, soft, rounding_loss = True, False, 0.0

        def apply(self, _):
            return dict(state)

    spec = prove(NET, (DATA[0][:2],)).spec
    for _ in range(2):
        back = kept_alignment(Result, "settings", A, B, spec, WorkFolder(tmp_path))
    aligned = back.apply(B)
    assert list(aligned) == list(state)
    assert all(torch.equal(aligned[k], state[k]) and aligned[k].dtype == state[k].dtype for k in state)
    assert aligned["a/b"].data_ptr() == aligned["tied"].data_ptr() != aligned["w.0"].data_ptr()
    assert np.isnan(back.objective) and back.message == "" and back.seconds == {"total": 1.5}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_checkpoints_in_other_precisions_are_kept_too(tmp_path: Path, dtype: torch.dtype):
    a, b = ({name: tensor.to(dtype) for name, tensor in state.items()} for state in (A, B))
    plain = lmc.barrier(NET, a, b, DATA, points=3, align=["weights", "ot?soft=true"])
    for _ in range(2):
        kept = lmc.barrier(NET, a, b, DATA, points=3, align=["weights", "ot?soft=true"], work=WorkFolder(tmp_path))
        np.testing.assert_array_equal(kept.example_loss.values, plain.example_loss.values)


def test_a_method_that_nobody_can_tell_apart_is_run_each_time(tmp_path: Path):
    runs = []
    spec = prove(NET, (DATA[0][:2],)).spec
    for _ in range(2):
        kept_alignment(lambda: runs.append(1), iter([1]), A, B, spec, WorkFolder(tmp_path))
    assert len(runs) == 2 and not list(tmp_path.iterdir())


def test_a_failing_task_leaves_its_traceback(tmp_path: Path):
    broken = checkpoints.load(DEMO[1])
    state = {name: tensor * float("1e30") for name, tensor in broken.state.items()}
    checkpoints.save(state, tmp_path / "b.safetensors", {"lmc": broken.metadata["lmc"]})
    task = replace(TASK, b=str(tmp_path / "b.safetensors"), align="none")
    folder = WorkFolder(tmp_path / "w")
    with pytest.raises(lmc.LmcError, match=r"The loss of example \d+ .* is (inf|nan)"):
        task.run(folder)
    (text,) = (text for name, text in folder.failures().items() if name == task.unit.filename)
    assert "Traceback" in text and "InputError" in text
