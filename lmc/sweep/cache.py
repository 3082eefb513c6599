"""Things that a worker keeps between units, the least recently used thrown out first, under a limit of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class LimitedCache:
    """Keeps what was made, as long as all of it together is within a limit.

    Parameters
    ----------
    limit : int
        In bytes. What is larger alone is made and handed out, and not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:
        """Return what is kept under a key, else make it: ``make`` returns the thing and its size in bytes."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        value, size = make()
        self.make_room(size)
        if size <= self.limit:
            self._kept[key] = value, size
            self.held += size
        return value

    def make_room(self, size: int) -> None:
        """Throw out what was not used for longest until so many bytes more are within the limit."""
        while self._kept and self.held + size > self.limit:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.held -= dropped

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)
