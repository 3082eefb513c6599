"""Claims: which process works on what. A claim ends with its process, however that ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmc._errors import UsageError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: no claims, work may be done twice, files are still replaced whole
    fcntl = None


class Claim:
    """A lock on a file, shared or exclusive, taken with :meth:`take` and given back with :meth:`release`.

    The operating system drops the lock when the process dies, so that nothing goes stale after kill -9. Where a file
    system has no locks, every claim succeeds: two processes may then do the same work, and the later file replaces
    the earlier one, which holds the same values.

    Parameters
    ----------
    path : path-like
        The lock file; made, never read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._handle: int | None = None

    def take(self, *, shared: bool = False) -> bool:
        """Try to get the lock, at once; a lock already held is exchanged for this one, or lost where that fails."""
        while True:
            if self._handle is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
                except FileNotFoundError:  # the folder was removed in between
                    continue
            if not _lock(self._handle, shared):
                self.release()
                return False
            if self._is_current():
                return True
            self.release()  # the file was removed by whoever held it before: lock the one that has its name now

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; ``remove`` takes the file away too, which only the exclusive holder may do."""
        if self._handle is None:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = None

    def _is_current(self) -> bool:
        assert self._handle is not None
        try:
            return os.path.samestat(os.fstat(self._handle), self.path.stat())
        except FileNotFoundError:
            return False


def wait_for(attempt: Callable[[], bool], *, seconds: float, patience: float) -> bool:
    """Try again every so many seconds until it works, or patience is at its end."""
    end = time.monotonic() + patience
    while not attempt():
        if time.monotonic() >= end:
            return False
        time.sleep(seconds)
    return True


def _lock(handle: int, shared: bool) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return True


def refuse_busy(path: Path) -> UsageError:
    """Return the error for a folder that another process works in."""
    return UsageError(f"Another process works in {path}. Name another output (-o), or share its work with --resume.")
