"""A hundred bad files on the command line: exit code 3, in seconds, in little memory, and nothing of them is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SECONDS, BYTES = 5.0, 2**30

# One process for all files, since starting one takes longer than any of them; its privileges are dropped for the
# private file alone, since the libraries may be closed to another user.
RUN = """
import io, json, os, sys, time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

folder, user = Path(sys.argv[1]), int(sys.argv[2])
from lmc.checkpoints import load
from lmc.cli import main
status = Path("/proc/self/status")
os.chdir(folder)
root = os.geteuid() == 0
for path in json.load(sys.stdin):
    if root:
        os.seteuid(user if path.endswith("private.pt") else 0)
    out, err, start, code = io.StringIO(), io.StringIO(), time.perf_counter(), "none"
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(["inspect", path])
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        code = repr(error)
    peak = 1024 * int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else 0
    print(json.dumps([path, code, time.perf_counter() - start, peak, err.getvalue()]), flush=True)
"""
NOBODY = 65534


def rows(folder: Path) -> list[list]:
    """Make the files, and return what inspecting each of them gave: path, exit code, seconds, peak bytes, message."""
    from made_up import make_all

    paths = [str(path) for path in make_all(folder)]
    folder.chmod(0o777)
    command = [sys.executable, "-c", RUN, str(folder), str(NOBODY)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, input=json.dumps(paths), text=True, capture_output=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def inspected():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folder is closed to other users
        yield rows(Path(folder)), Path(folder)


def test_every_bad_file_ends_with_three_a_reason_and_a_way_out(inspected):
    table, folder = inspected
    assert len(table) > 90
    for path, code, _, _, message in table:
        assert code == 3, (path, code, message)
        assert Path(path).name[:40] in message, (path, message)
        assert len(message) > len(path) + 40, (path, message)
        assert "Traceback" not in message
    assert not (folder / "executed").exists(), "a file's code was run"
    (private,) = (row for row in table if row[0].endswith("private.pt"))
    assert "may not be read by this user" in private[-1]


def test_no_bad_file_takes_long_or_much(inspected):
    table, _ = inspected
    slowest, largest = (max(table, key=lambda row, i=i: row[i]) for i in (2, 3))
    assert slowest[2] < SECONDS, slowest
    assert largest[3] < BYTES, largest
