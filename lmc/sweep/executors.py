"""Who does the units: this process, or a pool of processes; dask's workers are in a file of their own."""

from __future__ import annotations

import abc
from concurrent.futures import Future

from lmc.sweep.plan import Context
from lmc.sweep.tasks import Batch, Outcome
from lmc.sweep.worker import Worker


class AbstractExecutor(abc.ABC):
    """Takes batches and gives futures of their outcomes; a context manager that ends its workers.

    Attributes
    ----------
    wanted : int
        How many batches may be under way at once: one for each worker, and some in waiting where that costs nothing.
    most : int
        Units in a batch, at most.
    memory, points : int
        Bytes that each worker may keep checkpoints in, and hold positions of a path in.
    """

    wanted: int = 1
    most: int = 1
    memory: int = 2**30
    points: int = 2**30

    @abc.abstractmethod
    def submit(self, batch: Batch) -> Future[list[Outcome]]:
        """Begin a batch."""

    def close(self, *, now: bool = False) -> None:  # noqa: B027
        """End the workers, where there are any; ``now`` drops what they are at."""

    def __enter__(self) -> AbstractExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(now=kind is not None)


class InProcess(AbstractExecutor):
    """Does each unit in the calling process, at once."""

    def __init__(self, memory: int = 2**30, points: int = 2**30) -> None:
        self.memory, self.points = memory, points
        self._worker: Worker | None = None
        self._of = ""

    def submit(self, batch: Batch) -> Future[list[Outcome]]:
        """Do the batch before returning."""
        if self._worker is None or self._of != batch.context + batch.folder:
            self.close()
            self._worker = Worker(Context.read(batch.context), batch.folder, batch.memory, batch.points)
            self._of = batch.context + batch.folder
        future: Future[list[Outcome]] = Future()
        future.set_result([self._worker.run(task, batch.retry) for task in batch.tasks])
        return future

    def close(self, *, now: bool = False) -> None:
        """Leave the folder of results."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
