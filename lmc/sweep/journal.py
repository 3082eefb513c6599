"""What was begun, done and failed, and when: a file for each process, so that nobody waits for anybody."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JOURNAL = "journal"


class Journal:
    """Adds lines to a file of this process's own in a folder of results.

    Parameters
    ----------
    folder : path-like
        Of results. Where it cannot be written to, nothing is noted: the units themselves say what is done.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / JOURNAL / f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.jsonl"

    def note(self, event: str, unit: str, seconds: float | None = None) -> None:
        """Note an event: one line, one write."""
        line = {"time": time.time(), "event": event, "unit": unit, **({} if seconds is None else {"seconds": seconds})}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError:
            return


def read_journal(folder: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield every event of every process, in no order between processes; half a last line is left out."""
    for file in sorted((Path(folder) / JOURNAL).glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue
