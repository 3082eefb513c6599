"""An independent search for the path between two points of a grid whose highest point is lowest."""

from __future__ import annotations

import heapq

import numpy as np

STEPS = {4: [(0, 1), (1, 0), (0, -1), (-1, 0)]}
STEPS[8] = [*STEPS[4], (1, 1), (1, -1), (-1, 1), (-1, -1)]


def bottleneck(values: np.ndarray, start: tuple[int, int], neighbours: int) -> np.ndarray:
    """Return the least maximum on a path from the start to every point: Dijkstra with max in place of plus."""
    best = np.full(values.shape, np.inf)
    best[start] = values[start]
    waiting = [(values[start], start)]
    while waiting:
        height, (i, j) = heapq.heappop(waiting)
        if height > best[i, j]:
            continue
        for down, right in STEPS[neighbours]:
            at = i + down, j + right
            if 0 <= at[0] < values.shape[0] and 0 <= at[1] < values.shape[1]:
                reached = max(height, values[at])
                if reached < best[at]:
                    best[at] = reached
                    heapq.heappush(waiting, (reached, at))
    return best
