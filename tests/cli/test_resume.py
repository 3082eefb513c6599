"""lmc barrier killed, stopped and taken up again, as real processes: what is on disk is whole, the numbers the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from lmc import checkpoints, schema
from lmc.barriers import parts
from lmc.cli import main
from lmc.testing import tiny_mlp

SLOW = """
import os, time
from torch import nn

class Slow(nn.Module):
    '''Takes its time, and no processor, where it is told to.'''

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))

    def forward(self, x):
        time.sleep(float(os.environ.get("LMC_TEST_SECONDS", 0)))
        return self.body(x)
"""

# A part is three positions here, so that a network which takes seconds has as many parts as one that takes hours.
PART = 3.5 * 2 * 143 * 500
START = (
    f"import sys; from lmc.barriers import parts; parts._PART = {PART}; from lmc.cli import main; main(sys.argv[1:])"
)
ALIGN = ["none", "random", "weights?restarts=2"]
PARTS = 3 * 3 + 2
"""Three rows of three parts, and two alignments."""

WAIT = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of a slow network, and data."""
    place = tmp_path_factory.mktemp("resume")
    (place / "slow.py").write_text(SLOW)
    draw = np.random.default_rng(0)
    np.savez(place / "d.npz", x=draw.normal(size=(500, 6)).astype(np.float32), y=draw.integers(0, 3, 500))
    for seed, name in enumerate("ab"):
        state = {f"body.{key}": value for key, value in tiny_mlp(seed=seed).state_dict().items()}
        checkpoints.save(state, place / f"{name}.safetensors")
    return place


def arguments(output: str, *options: str) -> list[str]:
    command = ["barrier", "a.safetensors", "b.safetensors", "--model", "slow.py:Slow", "--data", "d.npz"]
    command += [word for one in ALIGN for word in ("--align", one)]
    return [*command, "--points", "9", "--figure", f"{output}.svg", "-o", output, "--threads", "1", *options]


def start(folder: Path, output: str, *options: str, seconds: float = 0.3) -> subprocess.Popen[str]:
    """Begin as a process of its own, in which every forward pass (27, and a few for probing) takes so long."""
    command = [sys.executable, "-c", START, *arguments(output, *options)]
    env = {**os.environ, "LMC_TEST_SECONDS": str(seconds)}
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.fixture(scope="module")
def here(folder: Path):
    """Run in this process, where only files matter and not how the process ends."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(parts, "_PART", PART)
        yield lambda *options: main(arguments(*options))
    torch.set_num_threads(threads)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err
    return out


def stop_after(process: subprocess.Popen[str], folder: Path, count: int, how: signal.Signals, pause: float) -> str:
    """Send a signal a moment after so many parts are there; return what was said."""
    end = time.monotonic() + WAIT
    while len(list(folder.glob("*.nc"))) < count and process.poll() is None:
        assert time.monotonic() < end, "no parts appear"
        time.sleep(0.005)
    time.sleep(pause)
    process.send_signal(how)
    _, err = process.communicate(timeout=WAIT)
    return err


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    timings = [name for name in one.variables if str(name).startswith("seconds")]
    xr.testing.assert_identical(one.drop_vars(timings).drop_attrs(), other.drop_vars(timings).drop_attrs())


@pytest.fixture(scope="module")
def whole(folder: Path, here) -> xr.Dataset:
    """The result of a run that nobody interrupted."""
    here("whole.nc")
    assert not (folder / "whole.nc.parts").exists()
    return schema.read(folder / "whole.nc")


def test_killed_at_any_moment_and_resumed_the_numbers_are_those_of_an_uninterrupted_run(folder, whole):
    """One run killed (-9) three times at drawn moments, an older result in its place all the while."""
    older = schema.write(whole.assign_attrs(lmc_unit="of other work"), folder / "out.nc")
    previous = older.read_bytes()
    draw = random.Random(5)
    kept = folder / "out.nc.parts"
    for number, count in enumerate(sorted(draw.sample(range(1, PARTS - 1), 3))):
        options = ["--resume"] if number else []
        stop_after(start(folder, "out.nc", *options), kept, count, signal.SIGKILL, draw.uniform(0, 0.1))
        assert (folder / "out.nc").read_bytes() == previous, "the older result is whole"
        assert len(list(kept.glob("*.nc"))) >= count, "what was measured stays"
        assert not [p for p in folder.iterdir() if p.name.endswith(".partial")]
    victim = sorted(kept.glob("evaluation-*.nc"))[0]
    victim.write_bytes(victim.read_bytes()[:-100])
    out = finish(start(folder, "out.nc", "--resume", seconds=0.0))
    assert f"{victim.name} is damaged" in out
    same(schema.read(folder / "out.nc"), whole)
    assert not kept.exists()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_it_says_where_the_work_is_and_how_to_go_on(folder, how, code):
    output = f"stopped-{code}.nc"
    process = start(folder, output)
    told = stop_after(process, folder / f"{output}.parts", 2, how, 0.05)
    assert process.returncode == code, told
    assert f"{output}.parts" in told and "--resume" in told and "Traceback" not in told
    left = {path.name for path in (folder / f"{output}.parts").iterdir()}
    assert not [name for name in left if "partial" in name or "claim" in name], "the unit at hand was dropped cleanly"
    assert not (folder / output).exists()


def test_two_processes_share_one_output(folder, here, whole, capsys):
    first = start(folder, "both.nc", seconds=0.05)
    while not (folder / "both.nc.parts" / ".in-use").exists():
        assert first.poll() is None
        time.sleep(0.005)
    with pytest.raises(SystemExit, match="2"):
        here("both.nc")
    assert "Another process works in both.nc.parts" in capsys.readouterr().err
    here("both.nc", "--resume")
    finish(first)
    same(schema.read(folder / "both.nc"), whole)
    assert not (folder / "both.nc.parts").exists()


def test_a_complete_result_is_not_made_again_and_a_damaged_one_is(folder, here, whole, capsys):
    before = (folder / "whole.nc").read_bytes()
    (folder / "done.nc").write_bytes(before)
    here("done.nc", "--resume")
    assert "is complete, nothing was computed" in capsys.readouterr().out
    assert (folder / "done.nc").read_bytes() == before
    (folder / "done.nc").write_bytes(before[:-1000])
    here("done.nc", "--resume")
    assert "it is made anew" in capsys.readouterr().out
    same(schema.read(folder / "done.nc"), whole)


def test_a_result_of_other_work_is_replaced_not_taken(folder, here, whole, capsys):
    (folder / "other.nc").write_bytes((folder / "whole.nc").read_bytes())
    here("other.nc", "--resume", "--seed", "1")
    assert schema.read(folder / "other.nc").attrs["bootstrap_seed"] == 1


def interrupt(monkeypatch, after: int) -> None:
    made, original = [], parts.evaluate_path

    def cut(*args, **options):
        if len(made) == after:
            raise KeyboardInterrupt
        made.append(1)
        return original(*args, **options)

    monkeypatch.setattr(parts, "evaluate_path", cut)


def test_without_resume_parts_of_an_earlier_run_are_not_taken(folder, here, whole, capsys, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
        interrupt(patch, 3)
        here("anew.nc")
    capsys.readouterr()
    here("anew.nc")
    assert "5 parts of an earlier run in anew.nc.parts were removed" in capsys.readouterr().out
    same(schema.read(folder / "anew.nc"), whole)


def test_an_output_without_a_name_is_found_again(folder, here, whole, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "barrier.nc").write_text("precious")
    unnamed = [word for word in arguments("x") if word not in ("-o", "x")]
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
        interrupt(patch, 1)
        main(unnamed)
    main([*unnamed, "--resume"])
    assert "wrote barrier-2.nc" in capsys.readouterr().out
    same(schema.read(folder / "barrier-2.nc"), whole)
    assert (folder / "barrier.nc").read_text() == "precious"
