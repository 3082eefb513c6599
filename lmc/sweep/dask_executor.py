"""Batches on the workers of a dask.distributed scheduler; where a worker dies, dask gives its batch to another."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch

from lmc._errors import UsageError
from lmc._optional import require
from lmc.sweep.executors import AbstractExecutor
from lmc.sweep.tasks import Batch, Outcome
from lmc.sweep.worker import run_batch

_PURPOSE = "sweeps on a cluster"
_WAIT = "30s"


class DaskExecutor(AbstractExecutor):
    """A dask cluster. Batches carry paths and settings, so every worker needs the same file system.

    Parameters
    ----------
    address : str or cluster
        ``tcp://host:8786``, or a cluster that this process has started, which :meth:`close` ends.
    security : mapping, optional
        Of ``distributed.Security``: ``tls_ca_file``, ``tls_client_cert``, ``tls_client_key`` and others.
    resources : mapping of str to float, optional
        What a batch takes of its worker, such as ``{"GPU": 1}``.
    threads : int, optional
        To compute with on each worker; by default what dask gave it.
    memory, points : int
        Bytes that each may keep checkpoints in, and hold positions of a path in.

    Raises
    ------
    MissingPackageError
        If dask.distributed is not installed.
    UsageError
        If no scheduler answers.
    """

    def __init__(
        self,
        address: Any,
        *,
        security: Mapping[str, Any] | None = None,
        resources: Mapping[str, float] | None = None,
        threads: int | None = None,
        memory: int = 2**30,
        points: int = 2**30,
    ) -> None:
        distributed = require("distributed", purpose=_PURPOSE, extra="dask")
        self.most, self.memory, self.points, self._threads = 64, memory, points, threads
        self._cluster = None if isinstance(address, str) else address
        options = {"security": make_security(security)} if security and self._cluster is None else {}
        try:
            self.client = distributed.Client(address, timeout=_WAIT, **options)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(f"No dask scheduler answers at {address}: {error}.") from error
        given = {"resources": dict(resources)} if resources else {}
        self._executor = self.client.get_executor(pure=False, **given)

    @property
    def wanted(self) -> int:  # type: ignore[override]
        """Two batches for each worker that there is now, so that none waits for the driver."""
        return max(2, 2 * len(self.client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def dashboard(self) -> str:
        """Address of the dashboard, empty where the scheduler has none."""
        return str(self.client.dashboard_link or "")

    def submit(self, batch: Batch) -> Future[list[Outcome]]:
        """Give a batch to the scheduler."""
        return self._executor.submit(run_on_worker, batch, self._threads, str(Path.cwd()))

    def close(self, *, now: bool = False) -> None:
        """Leave the scheduler, which forgets what was not begun; end the cluster that this process has started."""
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()


def run_on_worker(batch: Batch, threads: int | None, folder: str) -> list[Outcome]:
    """Do a batch on a dask worker, in the folder that the sweep was started in: relative paths mean the same there."""
    os.chdir(folder)
    with _lock():  # a worker process may have several threads; its caches and torch's threads are for one batch
        if threads is not None:
            torch.set_num_threads(threads)
        return run_batch(batch)


@functools.cache
def _lock() -> Any:
    return threading.Lock()


def make_security(settings: Mapping[str, Any]) -> Any:
    """Return TLS settings as dask takes them.

    Raises
    ------
    UsageError
        For a setting that ``distributed.Security`` does not have.
    """
    distributed = require("distributed", purpose=_PURPOSE, extra="dask")
    try:
        return distributed.Security(**settings)
    except TypeError as error:
        raise UsageError(f"[cluster.security]: {error}.") from error
