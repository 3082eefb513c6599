"""Worker processes of this machine: how they are made, without torch, so that they can be begun before it is loaded."""

from __future__ import annotations

import multiprocessing
from typing import Any


def worker_context() -> Any:
    """Return the context of :mod:`multiprocessing` that workers are made in: a server of forks, where there is one."""
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if server else "spawn")
    context.set_forkserver_preload(["lmc._preloaded"])
    return context


def begin_early() -> None:
    """Let the server of forks begin now: it imports torch while the calling process does."""
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()
