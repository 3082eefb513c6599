"""Soft plans beside the permutations they are rounded to: rows of their own, and whether their end is still B."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import xarray as xr

from lmc._types import StateDict
from lmc.interpolation import AbstractPath
from lmc.pipeline.kept import Alignment

SUFFIX = " (soft)"
"""What the name of an alignment carries where its plan itself was applied."""

_SAME = 1e-4
"""Largest mean change of an example's loss, relative to one nat, that passes for rounding."""


def all_paths(
    methods: Iterable[str],
    points: Sequence[StateDict],
    passed: Sequence[Mapping[str, Alignment]],
    between: Callable[[Sequence[StateDict]], AbstractPath],
) -> dict[str, AbstractPath]:
    """Return the path of every row: of every method, and beside it, where there is a plan, the path along the plan.

    Parameters
    ----------
    methods : iterable of str
        Names of rows.
    points : sequence of state dicts
        Networks on the way, as they were; the last is B.
    passed : sequence of mapping of str to Alignment
        How each of them was aligned, by method; missing where it stays.
    between : callable
        From aligned networks to the path through them.
    """
    found: dict[str, AbstractPath] = {}
    for name in methods:
        pairs = [(point, results.get(name)) for point, results in zip(points, passed, strict=True)]
        found[name] = between([point if one is None else one.apply(point) for point, one in pairs])
        if any(one is not None and one.soft for _, one in pairs):
            along = (point if one is None else one.apply_soft(point) for point, one in pairs)
            found[name + SUFFIX] = between(list(along))
    return found


def objectives(results: Mapping[str, Alignment]) -> dict[str, float]:
    """Return the objective of every row: of a permutation, and of the plan it comes from."""
    hard = {name: result.objective for name, result in results.items()}
    soft = {name + SUFFIX: r.objective + r.rounding_loss for name, r in results.items() if r.soft}
    return hard | soft


def messages(dataset: xr.Dataset, results: Mapping[str, Alignment]) -> list[str]:
    """Return how every row's alignment ended; a soft row says whether its end still computes what B does."""
    found = []
    for name in map(str, dataset.alignment.values):
        hard = name.removesuffix(SUFFIX)
        if name in results:
            result = results[name]
            verb = "lost" if result.rounding_loss > 0 else "gained"
            lost = f"rounding {verb} {abs(result.rounding_loss):.3g} of the objective" if result.soft else ""
            found.append("; ".join(filter(None, [result.message, lost])))
        elif hard in results:
            found.append(_verdict(dataset, hard, name))
        else:
            found.append("B as it is")
    return found


def _verdict(dataset: xr.Dataset, hard: str, soft: str) -> str:
    """Hold the soft end against the permuted one, which computes what B does, example by example."""
    if "example_loss" not in dataset or "t" not in dataset.example_loss.dims:
        return "the plan itself; whether B's function is kept was not measured"
    ends = dataset.example_loss.sel(alignment=[hard, soft]).isel(t=-1)
    change = float(np.abs(ends[1] - ends[0]).mean(dtype=np.float64))
    if change <= _SAME:
        return "the plan itself; B's function is kept"
    return f"the plan itself; B's FUNCTION CHANGED: losses at B move by {change:.2g} nats on average"
