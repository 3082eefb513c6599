"""How much memory a sweep may take: sizes as people write them, and how many workers they make room for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lmc._errors import UsageError

WORKER = 600 * 2**20
"""Bytes of a worker that has done nothing yet: torch and its libraries."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Share:
    """What each worker may take.

    Parameters
    ----------
    workers : int
        How many there is room for.
    states : int
        Bytes that each may keep checkpoints in.
    points : int
        Bytes that each may hold positions of a path in.
    """

    workers: int
    states: int
    points: int


def read_size(text: str) -> int:
    """Return a size such as 500M or 8G in bytes.

    Raises
    ------
    UsageError
        For anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]) > 0:
        raise UsageError(f"--max-memory {text!r}: write a size such as 500M or 8G.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def share_memory(limit: int | None, workers: int, state: int, data: int) -> Share:
    """Share memory out among workers.

    Parameters
    ----------
    limit : int or None
        Bytes for all of them; without one each keeps a gigabyte of checkpoints.
    workers : int
        As many as were asked for.
    state, data : int
        Bytes of the largest checkpoint, and of the data.

    Returns
    -------
    Share
        Fewer workers where not all would fit, and at least one: it then keeps nothing between units and holds one
        position of a path at a time.
    """
    if limit is None:
        return Share(workers, 2**30, 2**30)
    least = WORKER + data + 6 * state  # both ends, the aligned one, what an alignment works on, two positions
    count = max(1, min(workers, limit // least))
    spare = max(0, limit // count - least)
    return Share(int(count), spare // 2, spare // 2)
