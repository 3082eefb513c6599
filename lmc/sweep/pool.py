"""A pool of processes on this machine. One that dies costs the unit it was at, and is replaced."""

from __future__ import annotations

import os
import queue
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from lmc._forking import worker_context
from lmc.sweep.executors import AbstractExecutor
from lmc.sweep.serving import serve
from lmc.sweep.tasks import Batch, Outcome

TRIES = 2
"""A unit whose process dies is tried so often in all: by then it is the unit that kills it."""

_PATIENCE = 10.0
"""Seconds that a process gets to drop what it is at."""


class ProcessPool(AbstractExecutor):
    """Processes of this machine, each with so many threads.

    Parameters
    ----------
    workers : int
        How many.
    threads : int
        Of each; workers times threads should be no more than the cores.
    memory, points : int
        Bytes that each may keep checkpoints in, and hold positions of a path in.
    """

    def __init__(self, workers: int, threads: int, memory: int = 2**30, points: int = 2**30) -> None:
        self._context = worker_context()
        self.wanted, self.most, self.memory, self.points = workers + 1, 64, memory, points
        self._closing = False
        slots = [_Slot(self._context, threads) for _ in range(workers)]
        self._slots = slots
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._hands = ThreadPoolExecutor(workers, thread_name_prefix="sweep")

    def submit(self, batch: Batch) -> Future[list[Outcome]]:
        """Give a batch to the next worker that is free."""
        return self._hands.submit(self._hand_over, batch)

    def close(self, *, now: bool = False) -> None:
        """End the workers once they have done what they were given; with ``now`` they drop it."""
        self._closing = now
        if now:
            for slot in self._slots:
                slot.stop()
        self._hands.shutdown(wait=True, cancel_futures=now)
        for slot in self._slots:
            slot.end()

    def _hand_over(self, batch: Batch) -> list[Outcome]:
        """Do a batch in some process, however many it takes: the outcomes that arrived tell where one died."""
        slot = self._free.get()
        outcomes: list[Outcome] = []
        deaths = 0
        try:
            while len(outcomes) < len(batch.tasks) and not self._closing:
                left = replace(batch, tasks=batch.tasks[len(outcomes) :])
                arrived = slot.do(left)
                outcomes += arrived
                deaths = 1 if arrived else deaths + 1
                if len(outcomes) < len(batch.tasks) and deaths >= TRIES and not self._closing:
                    outcomes.append(Outcome(batch.tasks[len(outcomes)], "died", 0.0, slot.epitaph))
                    deaths = 0
        finally:
            self._free.put(slot)
        return outcomes


class _Slot:
    """One worker process, begun when it is first needed, and again when it has died."""

    def __init__(self, context: Any, threads: int) -> None:
        self._context, self._threads = context, threads
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self._stopped = False
        self.epitaph = ""

    def do(self, batch: Batch) -> list[Outcome]:
        """Return the outcomes of a batch; fewer where the process died on the way."""
        outcomes: list[Outcome] = []
        if (pipe := self._running()) is None:
            return outcomes
        try:
            pipe.send(batch)
            while len(outcomes) < len(batch.tasks):
                wait([pipe, self._process.sentinel])
                if not pipe.poll():
                    raise EOFError
                outcomes.append(pipe.recv())
        except (EOFError, OSError):
            self._process.join(_PATIENCE)
            self.epitaph = _cause(self._process.exitcode)
            with self._lock:
                self._process, self._pipe = None, None
        return outcomes

    def _running(self) -> Connection | None:
        with self._lock:
            if self._stopped:
                return None
            if self._process is None:
                self._pipe, theirs = self._context.Pipe()
                self._process = self._context.Process(target=serve, args=(theirs, self._threads), daemon=True)
                self._process.start()
                theirs.close()
            return self._pipe

    def stop(self) -> None:
        """Ask the process to drop what it is at; kill it where it does not."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process is not None:
            process.terminate()
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()

    def end(self) -> None:
        """Let the process end; it has nothing to do any more."""
        with self._lock:
            self._stopped = True
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(_PATIENCE)


def _cause(code: int | None) -> str:
    name = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    advice = "; most often memory had run out: fewer --workers, or --max-memory" if code == -signal.SIGKILL else ""
    return f"the process that worked on it died, {TRIES} times ({name}{advice})"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
