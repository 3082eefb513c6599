"""``lmc sweep FILE``: many pairs of checkpoints, as units of work that are never done twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from lmc._errors import IncompleteError, UsageError
from lmc._forking import begin_early
from lmc.cli.common import COMPUTING, WRITTEN, Printing, check_writable

if TYPE_CHECKING:
    from lmc.sweep import AbstractExecutor, Plan, Summary


def sweep(
    file: Path,
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(alias="-o", group=WRITTEN)] = None,
    retry_failed: Annotated[bool, Parameter(negative="", group=WRITTEN)] = False,
    workers: Annotated[int | None, Parameter(group=COMPUTING)] = None,
    threads: Annotated[int | None, Parameter(group=COMPUTING)] = None,
    max_memory: Annotated[str | None, Parameter(group=COMPUTING)] = None,
    scheduler: Annotated[str | None, Parameter(group=COMPUTING)] = None,
    cluster: Annotated[Literal["local", "slurm", "pbs", "sge", "kubernetes"] | None, Parameter(group=COMPUTING)] = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Measure barriers of many pairs of checkpoints, as a TOML file says.

    Each pair and alignment is a unit of work: a file in the folder of results, named by all that determines it. What
    is there is never computed again; any number of runs may share a folder; a run that was stopped goes on when the
    same command is given again. lmc collect joins the units into one dataset.

    For example, sweep.toml:

        [checkpoints]
        paths = ["runs/*/*.safetensors"]
        name = "width{width}/seed{seed}.safetensors"

        [pairs]
        within = "width"

        [measure]
        data = "digits"
        align = ["none", "weights"]

    and then:

        lmc sweep sweep.toml --dry-run
        lmc sweep sweep.toml -o results --workers 4
        lmc collect results -o sweep.nc

    Parameters
    ----------
    file
        The sweep file. Its relative paths start from its own folder.
    dry_run
        Say how many units there are, measure one of each kind, and estimate time and memory; nothing is written.
    output
        Folder of results; by default named like the sweep file.
    retry_failed
        Try units again that failed before.
    workers
        Processes; all cores by default.
    threads
        Threads of each; cores are shared out by default.
    max_memory
        Memory for all workers of this machine together (8G); fewer are started where they would not fit. On a cluster,
        memory of each worker.
    scheduler
        Address of a dask scheduler whose workers do the units (tcp://host:8786); all need the same file system.
    cluster
        Start a cluster for this sweep, with the settings of [cluster] in the sweep file.
    """
    _check(workers, threads)
    if scheduler is not None and cluster is not None:
        raise UsageError("--scheduler is a cluster that runs already, --cluster starts one: give one of them.")
    away = scheduler is not None or cluster is not None
    if not dry_run and workers != 1 and not away:
        begin_early()  # workers import torch while this process does
    from lmc import sweep as room

    settings = room.read_sweep(file)
    plan = room.make_plan(settings)
    _describe(plan, printing)
    folder = output or file.with_suffix("")
    if folder.is_file():
        raise UsageError(f"{folder} is a file; the results need a folder: name one by -o.")
    if dry_run:
        _estimate(plan, folder, workers, printing)
        return
    check_writable(folder / room.PLAN)
    if away:
        executor = _on_cluster(plan, scheduler, cluster, threads, max_memory, printing)
    else:
        executor = _executor(plan, workers, threads, max_memory, printing)
    with executor:
        summary = _run(plan, folder, executor, retry_failed, printing)
    _report(summary, folder, printing)


def _describe(plan: Plan, printing: Printing) -> None:
    members = plan.members
    coordinates = {key: len({m.coordinates[key] for m in members if key in m.coordinates}) for key in _keys(plan)}
    told = [f"{len(members):,} checkpoints", *(f"{count:,} x {name}" for name, count in coordinates.items())]
    printing.note("sweep", ", ".join(told))
    for member in members:
        if member.error:
            printing.note("warning", f"{member.name} cannot be used, its units will fail: {member.error}")
    aligned = ", ".join(plan.alignments)
    printing.note("units", f"{len(plan.pairs):,} pairs x {len(plan.alignments)} alignments ({aligned}) = {plan.size:,}")


def _keys(plan: Plan) -> list[str]:
    return list(dict.fromkeys(key for member in plan.members for key in member.coordinates))


def _estimate(plan: Plan, folder: Path, workers: int | None, printing: Printing) -> None:
    """Measure a few units of each kind, and say what all will take."""
    from lmc import sweep as room

    there = room.units_there(plan, folder)
    cost = room.measure_cost(plan)
    count = workers or plan.settings.execution.workers or room.cores()
    total = cost.seconds(plan, count)
    left = (plan.size - there) / plan.size * total
    if printing.json:
        told = {"units": plan.size, "there": there, "workers": count, "seconds": total, "memory_a_worker": cost.memory}
        print(json.dumps({**told, "seconds_left": left}))
        return
    for align in plan.alignments:
        each = [seconds for (_, name), seconds in cost.units.items() if name == align]
        print(f"{'measured':<10}{align}: {', '.join(room.duration(one) for one in each)} a unit")
    print(f"{'there':<10}{there:,} of {plan.size:,} units")
    print(f"{'time':<10}about {room.duration(left)} on {count} workers ({room.duration(total)} from nothing)")
    print(f"{'memory':<10}about {cost.memory / 2**30:.1f} GB a worker")
    print("nothing was written (--dry-run)")


def _check(workers: int | None, threads: int | None) -> None:
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}.")


def _executor(
    plan: Plan, workers: int | None, threads: int | None, max_memory: str | None, printing: Printing
) -> AbstractExecutor:
    """Share cores and memory of this machine out among workers."""
    import torch

    from lmc.sweep import InProcess, ProcessPool, cores, read_size, share_memory

    asked = plan.settings.execution
    count = workers or asked.workers or max(1, cores() // (threads or asked.threads or 1))
    _check(count, asked.threads)
    each = threads or asked.threads or max(1, cores() // count)
    limit = max_memory or asked.max_memory
    largest = max(member.size for member in plan.members)
    share = share_memory(None if limit is None else read_size(limit), count, largest, plan.data_size)
    if share.workers < count:
        printing.note("memory", f"{limit} has room for {share.workers} workers, not {count}")
    plural = "s" if share.workers > 1 else ""
    printing.note("workers", f"{share.workers} process{'es' if plural else ''}, {each} thread{'s' * (each > 1)} each")
    if share.workers == 1:
        torch.set_num_threads(each)
        return InProcess(share.states, share.points)
    return ProcessPool(share.workers, each, share.states, share.points)


def _on_cluster(
    plan: Plan,
    scheduler: str | None,
    kind: str | None,
    threads: int | None,
    max_memory: str | None,
    printing: Printing,
) -> AbstractExecutor:
    """Find or start a cluster."""
    from lmc import sweep as room

    table = dict(plan.settings.cluster)
    if scheduler is None:
        table = room.check_cluster(table, kind)
    limit = max_memory or plan.settings.execution.max_memory
    largest = max(member.size for member in plan.members)
    share = room.share_memory(None if limit is None else room.read_size(limit), 1, largest, plan.data_size)
    executor = room.DaskExecutor(
        scheduler if scheduler is not None else room.make_cluster(table),
        security=table.get("security"),
        resources=room.resources_of(table, plan.context.measure.device),
        threads=threads or plan.settings.execution.threads,
        memory=share.states,
        points=share.points,
    )
    printing.note("cluster", scheduler or f"{table['kind']}")
    if executor.dashboard:
        printing.note("dashboard", executor.dashboard)
    return executor


def _run(plan: Plan, folder: Path, executor: AbstractExecutor, retry_failed: bool, printing: Printing) -> Summary:
    from tqdm import tqdm

    from lmc.sweep import Progress, run_sweep
    from lmc.units import terminable

    with terminable(), tqdm(total=plan.size, disable=None, leave=False, file=sys.stderr, unit="unit") as bar:
        progress = Progress(plan.size, bar, lambda text: printing.note("progress", text))

        def tell(text: str) -> None:
            bar.clear()
            printing.note("note", text)

        try:
            return run_sweep(plan, folder, executor, retry_failed=retry_failed, tell=tell, progress=progress)
        except KeyboardInterrupt as error:
            raise type(error)(
                f"{progress.done:,} of {plan.size:,} units are in {folder}; the same command goes on"
            ) from None


def _report(summary: Summary, folder: Path, printing: Printing) -> None:
    from lmc.sweep import duration

    if printing.json:
        counts = {name: getattr(summary, name) for name in ("total", "computed", "found", "failed", "seconds")}
        print(json.dumps({**counts, "folder": str(folder), "failures": summary.failures}))
    else:
        print(
            f"{'done':<10}{summary.computed:,} computed, {summary.found:,} were there, {summary.failed:,} failed, "
            f"in {duration(summary.seconds)}"
        )
        for pair, align, message in summary.failures:
            print(f"{'failed':<10}{pair}, {align}: {message}")
        print(f"wrote {folder} (lmc collect {folder} -o sweep.nc)")
    if summary.failed:
        raise IncompleteError(
            f"{summary.failed:,} of {summary.total:,} units failed; tracebacks are in {folder}/*.failed.txt. Mend what "
            "they name, then give the same command with --retry-failed."
        )
