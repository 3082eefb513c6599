"""Sweeps: two processes against one and against ``lmc barrier`` pair by pair; what a unit costs beside its work.

On a machine that does other things, runs are taken in turns and both CPU and wall time are printed. Sizes are those of
the study unless LMC_BENCH_SEEDS and LMC_BENCH_TINY make them smaller.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import lmc
from lmc import checkpoints
from lmc.architectures import resolve
from lmc.datasets import open_data
from lmc.sweep import InProcess, ProcessPool, collect, make_plan, parse_sweep, run_sweep
from lmc.training import train_checkpoint

SEEDS = int(os.environ.get("LMC_BENCH_SEEDS", 20))
TINY = int(os.environ.get("LMC_BENCH_TINY", 64))
CALLS = 3
ROUNDS = 5

TOML = """
[checkpoints]
paths = ["w*/*.safetensors"]
name = "w{width}/{seed}.safetensors"
[pairs]
within = "width"
[measure]
data = "digits"
align = ["none", "weights"]
"""


def trained(folder: Path) -> None:
    train, test = open_data("digits", "train"), open_data("digits", "test")
    for width in (32, 64):
        for seed in range(SEEDS):
            network = resolve(f"mlp?widths=64,{width},10", input_shape=train.input_shape, num_classes=10, seed=seed)
            result, about = train_checkpoint(network.module, network.reference, train, test, epochs=4, seed=seed)
            path = folder / f"w{width}" / f"{seed}.safetensors"
            path.parent.mkdir(exist_ok=True)
            checkpoints.save(result.state, path, {"lmc": about})


def timed(folder: Path, *arguments: str) -> tuple[float, float]:
    """Return wall and CPU seconds of a command, its children included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "lmc", *arguments], cwd=folder, check=True, env=env, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def test_two_processes_against_one_and_against_a_call_for_each_pair(tmp_path: Path):
    trained(tmp_path)
    (tmp_path / "sweep.toml").write_text(TOML)
    pairs = 2 * SEEDS * (SEEDS - 1) // 2
    one = timed(tmp_path, "sweep", "sweep.toml", "-o", "one", "--workers", "1", "--threads", "1")
    two = timed(tmp_path, "sweep", "sweep.toml", "-o", "two", "--workers", "2", "--threads", "1")
    call = ["barrier", "w64/0.safetensors", "w64/1.safetensors", "--data", "digits", "--align", "none", "weights"]
    calls = [timed(tmp_path, *call, "--threads", "1", "-o", f"{k}.nc") for k in range(CALLS)]
    each = tuple(float(np.median([c[k] for c in calls])) for k in range(2))
    print(f"\nload {os.getloadavg()}, {pairs} pairs, {2 * pairs} units; wall s, CPU s")
    print(
        f"one process {one[0]:.1f}, {one[1]:.1f}; two {two[0]:.1f}, {two[1]:.1f}: x {one[0] / two[0]:.2f} in wall time"
    )
    print(f"lmc barrier {each[0]:.1f}, {each[1]:.1f} a pair: x {pairs * each[0] / two[0]:.1f} for {pairs} of them")
    assert (collect(tmp_path / "one").loss_barrier == collect(tmp_path / "two").loss_barrier).all()


def cpu_seconds(run: Callable[[], object]) -> float:
    """Return the CPU time that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def resident() -> float:
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Notes the memory of the driver as units come in."""

    def __init__(self) -> None:
        self.done, self.seen = 0, {}

    def update(self, outcome: object) -> None:
        self.done += 1
        if self.done % 200 == 0:
            self.seen[self.done] = round(resident(), 1)


def test_two_thousand_units_of_tiny_networks(tmp_path: Path):
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=draw.normal(size=(40, 6)).astype(np.float32), y=draw.integers(0, 3, 40))
    for seed in range(TINY):
        module = resolve("mlp?widths=6,4,3", seed=seed, input_shape=(6,), num_classes=3).module
        checkpoints.save(module.state_dict(), tmp_path / f"{seed}.safetensors", {"lmc": {"model": "mlp?widths=6,4,3"}})
    measure = {"data": str(tmp_path / "d.npz"), "align": ["none"], "points": 5}
    plan = make_plan(parse_sweep({"checkpoints": {"paths": f"{tmp_path}/*.safetensors"}, "measure": measure}))
    watch = Watch()
    with ProcessPool(1, 1) as pool:
        run_sweep(plan, tmp_path / "pool", pool, progress=watch)
    start, wall = time.process_time(), time.perf_counter()
    table = collect(tmp_path / "pool")
    collected = time.process_time() - start, time.perf_counter() - wall
    part = make_plan(parse_sweep({"checkpoints": {"paths": f"{tmp_path}/1*.safetensors"}, "measure": measure}))
    with InProcess() as here:
        run_sweep(part, tmp_path / "warm", here)
        a, b = (checkpoints.load(one.path).state for one in part.members[:2])
        data = open_data(str(tmp_path / "d.npz"))
        network = resolve("mlp?widths=6,4,3", input_shape=(6,), num_classes=3).module

        def sweep_once() -> None:
            run_sweep(part, Path(tempfile.mkdtemp(dir=tmp_path)), here)

        def measure_all() -> None:
            for _ in range(part.size):
                lmc.barrier(network, a, b, data, align=["none"], points=5)

        # In turns: what else the machine does stretches CPU time too, and so meets both.
        seconds = np.array([[cpu_seconds(run) for run in (sweep_once, measure_all)] for _ in range(ROUNDS)])
    unit, work = np.median(seconds, axis=0) / part.size
    overhead = np.median(seconds[:, 0] - seconds[:, 1]) / part.size
    print(f"\nload {os.getloadavg()}, {plan.size} units")
    print(f"CPU of a unit {1000 * unit:.1f} ms, of its work {1000 * work:.1f} ms: overhead {1000 * overhead:.1f} ms")
    print(f"collect {collected[0]:.1f} s CPU, {collected[1]:.1f} s wall; {dict(table.sizes)}")
    print(f"driver, MB after so many units: {watch.seen}")
    assert table.attrs["units_done"] == plan.size
