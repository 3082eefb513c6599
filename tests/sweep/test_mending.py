"""What goes wrong with disks and files is said, the other units go on, and --retry-failed finishes once mended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep.conftest import SWEEP, save_run

from lmc.cli import main
from lmc.sweep import InProcess, collect, make_plan, read_sweep, run_sweep, worker

RETRY = ["sweep", "sweep.toml", "-o", "results", "--workers", "1", "--retry-failed"]


def refused(*arguments: str, code: int = 5) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == code


def test_a_truncated_checkpoint_fails_its_units_alone_and_is_finished_when_mended(study: Path, capsys):
    whole = (study / "runs/width4/seed1.safetensors").read_bytes()
    (study / "runs/width4/seed1.safetensors").write_bytes(whole[:-40])
    refused("sweep", "sweep.toml", "-o", "results", "--workers", "1")
    out, err = capsys.readouterr()
    assert "warning   width4/seed1.safetensors cannot be used" in out
    assert "4 computed, 0 were there, 2 failed" in out
    assert "2 of 6 units failed" in err and "--retry-failed" in err
    assert len([t for t in (study / "results").glob("*.failed.txt") if "CheckpointError" in t.read_text()]) == 2
    refused("sweep", "sweep.toml", "-o", "results", "--workers", "1")
    assert "failed in an earlier run; --retry-failed tries again" in capsys.readouterr().out
    table = collect("results")
    assert (table.status == "failed").sum() == 2 and table.seed_b.values.tolist() == [1, 2, 2, 1, 2, 2]
    (study / "runs/width4/seed1.safetensors").write_bytes(whole)
    main(RETRY)
    assert "2 computed, 4 were there, 0 failed" in capsys.readouterr().out
    assert (collect("results").status == "done").all()


def test_a_checkpoint_replaced_while_the_sweep_runs_is_noticed_by_its_digest(study: Path):
    plan = make_plan(read_sweep("sweep.toml"))
    other = save_run(study, 4, 9)
    other.replace(study / "runs/width4/seed1.safetensors")
    summary = run_sweep(plan, "results", InProcess())
    assert (summary.computed, summary.failed) == (4, 2)
    assert "was replaced since the sweep was planned: its SHA-256 was" in summary.failures[0][2]
    main(RETRY)
    assert (collect("results").status == "done").all()


def test_a_checkpoint_written_into_while_it_is_read_is_noticed_too(study: Path, monkeypatch):
    plan = make_plan(read_sweep("sweep.toml"))
    victim = study / "runs/width4/seed1.safetensors"
    load, original = worker.load, victim.read_bytes()

    def spoil(path, **options):
        found = load(path, **options)
        if Path(path).name == "seed1.safetensors" and "width4" in str(path):
            victim.write_bytes(original[:-4] + b"\x00\x00\x00\x40")
        return found

    monkeypatch.setattr(worker, "load", spoil)
    summary = run_sweep(plan, "results", InProcess())
    assert (summary.computed, summary.failed) == (4, 2)
    assert "was replaced" in summary.failures[0][2]


def test_a_corrupted_result_is_told_and_computed_again(study: Path, capsys):
    main(["sweep", "sweep.toml", "-o", "results", "--workers", "1"])
    before = collect("results")
    victim = min((study / "results").glob("barrier-*.nc"))
    content = bytearray(victim.read_bytes())
    content[-9] ^= 0x10  # a bit of a number: the file opens as before
    victim.write_bytes(bytes(content))
    told: list[str] = []
    assert (collect("results", tell=told.append).status == "missing").sum() == 1 and "is damaged" in told[0]
    capsys.readouterr()
    main(["sweep", "sweep.toml", "-o", "results", "--workers", "1"])
    out = capsys.readouterr().out
    assert f"{victim.name} is damaged; its part is computed again" in out and "1 computed, 5 were there" in out
    assert collect("results").loss.identical(before.loss)


@pytest.fixture
def small_disk(study: Path) -> Iterator[Path]:
    """A disk of 512 kB, which the results go to."""
    place = study / "results"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("noticed", ["before the work", "while it is written"])
def test_a_full_disk_is_said_and_finished_when_there_is_room(
    study: Path, small_disk: Path, monkeypatch, capsys, noticed
):
    if noticed == "while it is written":
        monkeypatch.setattr(worker, "_ROOM", 0)
    filler = small_disk / "filler"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    keep = worker._ROOM + 5 * 4096 + 3 * 8192 if worker._ROOM else 7 * 4096
    filler.write_bytes(bytes(free - keep))
    refused("sweep", "sweep.toml", "-o", "results", "--workers", "1")
    out, err = capsys.readouterr()
    assert "units failed" in err and "6 computed" not in out
    assert "The disk of results is full" in out or "No space left on device" in out, out
    assert not [path for path in small_disk.iterdir() if "partial" in path.name], "nothing half written stays"
    filler.unlink()
    main(RETRY)
    assert ", 0 failed" in capsys.readouterr().out
    assert (collect("results").status == "done").all()


AS_ANYBODY = """
import ctypes, os, sys
if os.geteuid() == 0:  # what lets root pass over permissions is lost with the next program
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


TWICE = """
import os, sys
from lmc.cli import main
for prepare in (lambda: None, lambda: os.chmod("results", 0o555)):
    prepare()
    try:
        main(["sweep", "sweep.toml", "-o", "results", "--workers", "1"])
    except SystemExit as stopped:
        print("code", stopped.code, file=sys.stderr)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root's privileges are dropped by prctl, of Linux")
def test_missing_permissions_are_said(study: Path):
    (study / "sweep.toml").write_text(SWEEP.replace("runs/*/", "runs/width4/"))
    locked = study / "runs/width4/seed0.safetensors"
    locked.chmod(0)
    done = subprocess.run([sys.executable, "-c", AS_ANYBODY, TWICE], capture_output=True, text=True, timeout=240)
    (study / "results").chmod(0o755)
    assert "read by this user" in done.stdout and "1 computed, 0 were there, 2 failed" in done.stdout, done
    first, second = done.stderr.split("code 5\n")
    assert "2 of 3 units failed" in first
    assert (
        "results/plan.json cannot be written" in second
        and "Permission denied" in second
        and second.endswith("code 2\n")
    )
