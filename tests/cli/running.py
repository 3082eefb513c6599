"""The command line as a process of its own: begun from nothing, or forked from one that has torch loaded already."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmc._forking import worker_context

WIDE = {"COLUMNS": "120"}


def lmc_from_nothing(*args: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m lmc``: what a user does, eight seconds of imports included."""
    command = [sys.executable, "-m", "lmc", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **WIDE, **env})


def lmc(*args: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process forked from a server that has imported everything: the same without the wait."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return lmc_from_nothing(*args, cwd=cwd, **env)
    command = ["lmc", *map(str, args)]
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place) / "out", Path(place) / "err"
        told = {**os.environ, **WIDE, **env}
        process: Any = worker_context().Process(target=_run, args=(command, str(cwd), told, str(out), str(err)))
        process.start()
        process.join()
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())


def _run(command: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = command
    from lmc.cli import main

    main(command[1:])
