"""How far a sweep is: a bar with rate and failures on a terminal, a line every tenth of the way in logs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lmc.sweep.tasks import Outcome


class Progress:
    """Counts outcomes.

    Parameters
    ----------
    total : int
        Units of the sweep.
    bar : object with ``update`` and ``set_postfix_str``, optional
        Such as ``tqdm.tqdm``; tqdm's own word ``disable`` says whether it is one that nobody sees.
    line : callable, optional
        Takes a line for a log, at every tenth of the way; used where there is no bar to see.
    clock : callable
        Gives seconds that only ever grow, whatever becomes of the time of day.
    """

    def __init__(
        self,
        total: int,
        bar: Any = None,
        line: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.bar, self.line, self._clock = total, bar, line, clock
        self.done = self.computed = self.failed = 0
        self._start = clock()
        self._tenth = 0

    def update(self, outcome: Outcome) -> None:
        """Take in what became of one unit."""
        self.done += 1
        self.computed += outcome.state == "computed"
        self.failed += outcome.state in ("failed", "failed before")
        if self.bar is not None and not getattr(self.bar, "disable", False):
            if self.failed:
                self.bar.set_postfix_str(f"{self.failed} failed", refresh=False)
            self.bar.update(1)
            return
        tenth = 10 * self.done // self.total
        if self.line is not None and tenth > self._tenth:
            self._tenth = tenth
            self.line(self.told())

    def told(self) -> str:
        """Return how far it is, in one line."""
        seconds = max(self._clock() - self._start, 1e-9)
        rate = self.computed / seconds
        left = (self.total - self.done) / rate if rate else 0.0
        share = 100 * self.done // self.total
        more = f", {duration(left)} left" if self.done < self.total and rate else ""
        return f"{share}% of {self.total:,} units, {self.failed:,} failed, {rate:.2g} a second{more}"


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3.5 h, 2.1 days."""
    for size, unit in ((86400 * 1.5, "days"), (3600 * 1.5, "h"), (90, "min")):
        if seconds >= size:
            one = {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{seconds / one:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
