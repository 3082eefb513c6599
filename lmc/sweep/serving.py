"""What a process of the pool runs: batches in, outcomes out, one at a time; it never outlives the driver."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection

import torch

from lmc.sweep.tasks import Batch
from lmc.sweep.worker import outcomes_of
from lmc.units import terminable


def serve(pipe: Connection, threads: int) -> None:
    """Do batches until the pipe is closed.

    Parameters
    ----------
    pipe : Connection
        Brings batches, takes outcomes.
    threads : int
        To compute with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver says what Ctrl-C means
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        while True:
            batch: Batch = pipe.recv()
            with terminable():  # a unit that is asked to end is dropped cleanly
                for outcome in outcomes_of(batch):
                    pipe.send(outcome)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _end_with_the_driver() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
