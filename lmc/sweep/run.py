"""The driver: hands batches to an executor, a few at a time, and counts what becomes of their units."""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmc.sweep.executors import AbstractExecutor
from lmc.sweep.pairs import in_blocks
from lmc.sweep.plan import Plan
from lmc.sweep.tasks import Batch, Outcome, Task
from lmc.sweep.worker import say
from lmc.units import WorkFolder

_SECONDS = 2.0
"""A batch takes about so long: short enough to share evenly, long enough that handing it over costs nothing."""

_MOST = 64
_SIDE = 8
"""Checkpoints a side of the squares that pairs are taken in, so that those loaded serve many of them."""

_PAUSE = 0.5
_SHOWN = 20


@dataclass
class Summary:
    """What a run of a sweep did.

    Parameters
    ----------
    total : int
        Units of the sweep.
    computed, found, failed : int
        Computed in this run; there already, or computed meanwhile by another process; failed, now or before.
    failures : list of (pair, alignment, message)
        The first of them.
    seconds : float
        Time the run took.
    """

    total: int
    computed: int = 0
    found: int = 0
    failed: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, outcome: Outcome) -> None:
        """Take in what became of a unit."""
        self.computed += outcome.state == "computed"
        self.found += outcome.state == "found"
        if outcome.state in ("failed", "failed before"):
            self.failed += 1
            if len(self.failures) < _SHOWN:
                task = outcome.task
                message = outcome.message or "failed in an earlier run; --retry-failed tries again"
                self.failures.append((f"{task.a.name} - {task.b.name}", task.align, message))


def run_sweep(
    plan: Plan,
    folder: str | Path,
    executor: AbstractExecutor,
    *,
    retry_failed: bool = False,
    tell: Callable[[str], object] | None = None,
    progress: Any = None,
) -> Summary:
    """Do every unit of a sweep that is not done yet.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    folder : path-like
        Of results, made where it is not there; several processes may work in it at once.
    executor : AbstractExecutor
        Who does it.
    retry_failed : bool
        Whether units that failed before are tried again.
    tell : callable, optional
        Takes one sentence for the user.
    progress : object with ``update(outcome)``, optional
        Is shown every outcome.

    Returns
    -------
    Summary
    """
    start = time.perf_counter()
    Path(folder).mkdir(parents=True, exist_ok=True)
    plan.write(folder)
    driver = _Driver(plan, str(Path(folder).absolute()), executor, retry_failed, tell or (lambda text: None), progress)
    driver.run()
    driver.summary.seconds = time.perf_counter() - start
    return driver.summary


class _Driver:
    def __init__(
        self,
        plan: Plan,
        folder: str,
        executor: AbstractExecutor,
        retry: bool,
        tell: Callable[[str], object],
        progress: Any,
    ) -> None:
        self.executor, self.folder, self.retry = executor, folder, retry
        self._plan, self.context = plan, plan.context.text
        self._units = WorkFolder(folder)
        self.summary = Summary(plan.size)
        self._tell, self._progress = tell, progress
        self._tasks = _in_order(plan)
        self._busy: deque[Task] = deque()
        self._again: deque[Task] = deque()
        self._alone_now: deque[Task] = deque()
        self._running: dict[Future[list[Outcome]], Batch] = {}
        self._mean: float | None = None

    def run(self) -> None:
        """Keep every worker busy until nothing is left."""
        while True:
            while len(self._running) < self.executor.wanted and (batch := self._next()) is not None:
                self._running[self.executor.submit(batch)] = batch
            if not self._running:
                if not self._busy:
                    return
                # All that is left is being computed by other processes.
                time.sleep(_PAUSE)
                self._again, self._busy = self._busy, deque()
                continue
            done, _ = concurrent.futures.wait(self._running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                self._take(self._running.pop(future), future)

    def _next(self) -> Batch | None:
        if self._alone_now:
            return self._batch([self._alone_now.popleft()])
        count = 1 if self._mean is None else round(_SECONDS / max(self._mean, 1e-3))
        count = max(1, min(count, self.executor.most, _MOST))
        tasks: list[Task] = []
        while len(tasks) < count:
            task = self._again.popleft() if self._again else next(self._tasks, None)
            if task is None:
                break
            tasks.append(task)
        return self._batch(tasks) if tasks else None

    def _batch(self, tasks: list[Task]) -> Batch:
        executor = self.executor
        return Batch(self.context, self.folder, tuple(tasks), self.retry, executor.memory, executor.points)

    def _take(self, batch: Batch, future: Future[list[Outcome]]) -> None:
        try:
            outcomes = future.result()
        except Exception as error:  # the executor gave up on it: its worker died once too often, or cannot run it
            outcomes = self._alone(batch, error)
        for outcome in outcomes:
            self._count(outcome)

    def _alone(self, batch: Batch, error: Exception) -> list[Outcome]:
        """Give the units of a lost batch out again, each by itself: then it is known which one it was."""
        if len(batch.tasks) > 1:
            self._alone_now.extend(batch.tasks)
            return []
        message = f"the worker was lost: {type(error).__name__}: {say(error)}"
        return [Outcome(batch.tasks[0], "died", 0.0, message)]

    def _count(self, outcome: Outcome) -> None:
        if outcome.state == "busy":
            self._busy.append(outcome.task)
            return
        if outcome.state == "died":
            outcome = self._buried(outcome)
        if outcome.state == "computed":
            before = outcome.seconds if self._mean is None else self._mean
            self._mean = 0.9 * before + 0.1 * outcome.seconds
        if outcome.message and outcome.state in ("computed", "found"):
            self._tell(outcome.message)
        self.summary.count(outcome)
        if self._progress is not None:
            self._progress.update(outcome)

    def _buried(self, outcome: Outcome) -> Outcome:
        """Record the failure that the process of a unit could not record itself."""
        task = outcome.task
        self._units.fail(self._plan.context.unit(task.a, task.b, task.align), outcome.message)
        return replace(outcome, state="failed")


def _in_order(plan: Plan) -> Iterator[Task]:
    """Yield the units in squares of checkpoints, made one at a time."""
    for pair in in_blocks(plan.pairs, _SIDE).tolist():
        a, b = plan.ends(pair)
        for align in plan.alignments:
            yield Task(pair, a, b, align)
