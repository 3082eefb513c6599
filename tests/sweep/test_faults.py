"""Sweeps that are killed, stopped and shared: nothing is lost, nothing is computed twice, the numbers are the same."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from sweep import slow_runs

from lmc import checkpoints
from lmc.sweep import InProcess, ProcessPool, collect, make_plan, read_sweep, run_sweep

WAIT = 900


def wait_for_units(process, results: Path, count: int) -> None:
    end = time.monotonic() + WAIT
    while slow_runs.done(results) < count and process.poll() is None:
        assert time.monotonic() < end, "no units appear"
        time.sleep(0.01)


def test_two_runs_share_a_folder_one_is_killed_the_other_stopped_and_the_numbers_are_the_same(tmp_path, monkeypatch):
    folder = slow_runs.make_study(tmp_path, 5)
    results = folder / "results"
    draw = random.Random(3)
    first = slow_runs.start(folder, "--workers", "2", seconds=0.1)
    second = slow_runs.start(folder, "--workers", "1", seconds=0.1)
    wait_for_units(first, results, 3)
    time.sleep(draw.uniform(0, 0.3))
    slow_runs.kill_tree(first)
    wait_for_units(second, results, 5)
    second.send_signal(signal.SIGTERM)
    _, told = second.communicate(timeout=WAIT)
    assert second.returncode == 143 and "of 10 units are in results; the same command goes on" in told, told
    monkeypatch.chdir(folder)
    plan = make_plan(read_sweep("sweep.toml"))
    summary = run_sweep(plan, results, InProcess())
    assert summary.found >= 5 and summary.failed == 0
    slow_runs.check_same(collect(results), slow_runs.undisturbed(folder))
    slow_runs.check_nothing_twice(results, killed_workers=2 + 1)
    left = [path.name for path in results.iterdir() if "partial" in path.name or "claim" in path.name]
    assert not left, "what was half done is gone"


def test_a_process_that_dies_costs_its_unit_and_a_unit_that_kills_its_process_fails(tmp_path: Path, monkeypatch):
    folder = slow_runs.make_study(tmp_path, 3)
    poisoned = folder / "runs" / "width4" / "seed2.safetensors"
    found = checkpoints.load(poisoned)
    state = {k: torch.full_like(x, 1000.0) if k.endswith("bias") else x.clone() for k, x in found.state.items()}
    checkpoints.save(state, poisoned)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LMC_TEST_POISON", "1")
    plan = make_plan(read_sweep("sweep.toml"))
    (folder / "die-once").touch()
    with ProcessPool(1, 1) as pool:
        summary = run_sweep(plan, "results", pool)
    assert not (folder / "die-once").exists()
    assert (summary.computed, summary.failed) == (1, 2), summary
    assert all("seed2" in pair and "SIGKILL" in message for pair, _, message in summary.failures), summary
    table = collect("results")
    assert table.status.values.ravel().tolist() == ["done", "failed", "failed"]


ROUNDS = int(os.environ.get("LMC_FAULT_ROUNDS", 0))
"""Kills of the long test; ``make faults`` sets it."""


@pytest.mark.skipif(not ROUNDS, reason="the long kill test runs on demand: LMC_FAULT_ROUNDS=10, or make faults")
@pytest.mark.parametrize("how", ["pool", "dask"])
def test_killed_at_random_moments_many_times(tmp_path: Path, monkeypatch, how: str):
    """Workers, drivers and whole trees are killed; at last one run is left alone to finish."""
    seed = int(os.environ.get("LMC_FAULT_SEED", time.time_ns() % 2**31))
    print(f"LMC_FAULT_SEED={seed}")
    folder = slow_runs.make_study(tmp_path, 9)
    draw, killed = random.Random(seed), 0
    for number in range(ROUNDS):
        with slow_runs.cluster(folder, how) as (options, tree, workers):
            process = slow_runs.start(folder, *options, seconds=0.2)
            wait_for_units(process, folder / "results", slow_runs.done(folder / "results") + draw.choice([0, 1, 1, 2]))
            time.sleep(draw.uniform(0, 1.5))
            victim = draw.choice(["worker", "driver", "tree"]) if number > 2 else ["worker", "driver", "tree"][number]
            killed += 2 if victim == "tree" or how == "pool" else 1
            print(number, victim, slow_runs.done(folder / "results"), process.poll())
            if victim == "worker" and (pids := workers(process)):
                os.kill(draw.choice(pids), signal.SIGKILL)
                wait_for_units(process, folder / "results", slow_runs.done(folder / "results") + 1)
            if victim == "tree":
                tree()
            slow_runs.kill_tree(process)
    with slow_runs.cluster(folder, how) as (options, _, _):
        process = slow_runs.start(folder, *options)
        out, told = process.communicate(timeout=WAIT)
        assert process.returncode == 0, told
        print(out)
    monkeypatch.chdir(folder)
    slow_runs.check_same(collect("results"), slow_runs.undisturbed(folder))
    slow_runs.check_nothing_twice(folder / "results", killed_workers=2 * killed)
