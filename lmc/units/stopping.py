"""SIGTERM as an exception, so that what is half done is dropped cleanly and what is done is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM); handled wherever Ctrl-C is."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises :class:`Terminated`, as Ctrl-C raises KeyboardInterrupt.

    Only the main thread can receive signals; elsewhere, and where somebody else handles SIGTERM already, nothing
    changes.
    """
    usual = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not usual:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: Any) -> NoReturn:
    raise Terminated(f"signal {signal.Signals(number).name}")
