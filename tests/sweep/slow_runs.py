"""Sweeps as real processes over a network that takes its time, and what must hold after they were killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr
from sweep.conftest import SWEEP, save_data, save_run

from lmc.sweep import InProcess, collect, make_plan, read_sweep, run_sweep
from lmc.sweep.journal import read_journal

SLOW = """
import os, time
from torch import nn

class Slow(nn.Module):
    '''Takes its time, and no processor, where it is told to; ends its process where a file tells it to.'''

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, x):
        time.sleep(float(os.environ.get("LMC_TEST_SECONDS", 0)))
        if os.path.exists("die-once"):
            os.unlink("die-once")
            os.kill(os.getpid(), 9)
        if os.environ.get("LMC_TEST_POISON") and float(self.body[2].bias.detach().abs().max()) > 50:
            os.kill(os.getpid(), 9)
        return self.body(x)
"""


def make_study(folder: Path, seeds: int) -> Path:
    """Write checkpoints of one width, data, the network and ``sweep.toml``; all pairs, one alignment."""
    for seed in range(seeds):
        save_run(folder, 4, seed)
    save_data(folder)
    (folder / "nets.py").write_text(SLOW)
    measure = 'data = "d.npz"\nmodel = "nets.py:Slow"'
    (folder / "sweep.toml").write_text(SWEEP.replace('data = "d.npz"', measure))
    return folder


def start(folder: Path, *options: str, seconds: float = 0.0, output: str = "results") -> subprocess.Popen[str]:
    """Begin ``lmc sweep`` as the leader of a process group of its own."""
    command = [sys.executable, "-m", "lmc", "sweep", "sweep.toml", "-o", output, *options]
    env = {**os.environ, "LMC_TEST_SECONDS": str(seconds)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, env=env, start_new_session=True, **pipes)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill -9 a process and everything that it has started."""
    with contextlib.suppress(ProcessLookupError):  # it had ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def done(folder: Path) -> int:
    return len(list(folder.glob("barrier-*.nc")))


def undisturbed(folder: Path) -> xr.Dataset:
    """Return what one process finds that nobody disturbs."""
    run_sweep(make_plan(read_sweep(folder / "sweep.toml")), folder / "calm", InProcess())
    return collect(folder / "calm")


def check_same(found: xr.Dataset, calm: xr.Dataset) -> None:
    """Bit for bit, timings aside."""
    assert (found.status == "done").all()
    timings = [name for name in calm.variables if str(name).startswith("seconds")]
    xr.testing.assert_identical(found.drop_vars(timings).drop_attrs(), calm.drop_vars(timings).drop_attrs())


def check_nothing_twice(results: Path, killed_workers: int) -> None:
    """No unit was finished twice; begun again were only those that a kill may have interrupted."""
    events = Counter((event["event"], event["unit"]) for event in read_journal(results))
    assert not [unit for (event, unit), count in events.items() if event == "done" and count > 1]
    begun = sum(count for (event, _), count in events.items() if event == "begin")
    units = len({unit for _, unit in events})
    assert begun - units <= killed_workers, f"{begun} begun for {units} units, {killed_workers} workers killed"


HOST = """
import sys, time
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
    print(cluster.scheduler_address, flush=True)
    time.sleep(3600)
"""


@contextmanager
def cluster(folder: Path, how: str) -> Iterator[tuple[list[str], Callable[[], None], Callable[[Any], list[int]]]]:
    """Yield options of ``lmc sweep``, what kills the whole tree, and what finds the processes that compute."""
    if how == "pool":
        yield ["--workers", "2"], lambda: None, lambda process: _computing(process.pid)
        return
    (folder / "host.py").write_text(HOST)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    env = {**os.environ, "LMC_TEST_SECONDS": "0.2"}
    host = subprocess.Popen(
        [sys.executable, "host.py"], cwd=folder, text=True, env=env, start_new_session=True, **pipes
    )
    assert host.stdout is not None
    address = host.stdout.readline().strip()
    try:
        yield ["--scheduler", address], lambda: os.killpg(host.pid, signal.SIGKILL), lambda _: _computing(host.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(host.pid, signal.SIGKILL)
        host.communicate()


def _computing(pid: int) -> list[int]:
    """Return the processes below one that have loaded torch and are nobody's parent."""
    import psutil

    below = psutil.Process(pid).children(recursive=True)
    return [one.pid for one in below if not one.children() and "forkserver" not in " ".join(one.cmdline()[-3:])][-2:]
