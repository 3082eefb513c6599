"""Soft plans beside the permutations they are rounded to: rows of their own, and whether their end is still B."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

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
        if all(one is None or one.hard for _, one in pairs):
            found[name] = between([point if one is None else one.apply(point) for point, one in pairs])
        if any(one is not None and one.soft for _, one in pairs):
            found[name + SUFFIX] = between([_along(point, one) for point, one in pairs])
    return found


def _along(point: StateDict, one: Alignment | None) -> StateDict:
    """Return a network moved along its plan; where it has none, by its permutation."""
    if one is None:
        return point
    return one.apply_soft(point) if one.soft else one.apply(point)


def row_of(name: str, result: Alignment) -> str:
    """Return the row that a method is timed in: that of its permutation, where it has one."""
    return name if result.hard else name + SUFFIX


def objectives(results: Mapping[str, Alignment]) -> dict[str, float]:
    """Return the objective of every row: of a permutation, and of the plan it comes from."""
    hard = {name: result.objective for name, result in results.items() if result.hard}
    soft = {name + SUFFIX: r.objective + r.rounding_loss for name, r in results.items() if r.soft}
    return hard | soft


def messages(
    dataset: xr.Dataset, results: Mapping[str, Alignment], own: NDArray[np.floating] | None = None
) -> list[str]:
    """Return how every row's alignment ended; a soft row says whether its end still computes what B does.

    Parameters
    ----------
    dataset : xarray.Dataset
        The measured rows.
    results : mapping of str to Alignment
        By method.
    own : array, shape (example,), optional
        Losses of B itself, for plans without a permutation beside them: where widths differ.
    """
    found = []
    for name in map(str, dataset.alignment.values):
        hard = name.removesuffix(SUFFIX)
        if name in results:
            result = results[name]
            verb = "lost" if result.rounding_loss > 0 else "gained"
            lost = f"rounding {verb} {abs(result.rounding_loss):.3g} of the objective" if result.soft else ""
            found.append("; ".join(filter(None, [result.message, lost])))
        elif hard in results and results[hard].hard:
            found.append(_verdict(dataset, name, _end(dataset, hard)))
        elif hard in results:
            found.append(f"{results[hard].message}; {_verdict(dataset, name, own)}")
        else:
            found.append("B as it is")
    return found


def _end(dataset: xr.Dataset, name: str) -> NDArray[np.floating] | None:
    """Return the losses at the other end of a row, shape (example,), where they were kept."""
    if "example_loss" not in dataset or "t" not in dataset.example_loss.dims:
        return None
    return dataset.example_loss.sel(alignment=name).isel(t=-1).values


def _verdict(dataset: xr.Dataset, soft: str, own: NDArray[np.floating] | None) -> str:
    """Hold the soft end against what computes B's function (B permuted, or B itself), example by example."""
    end = _end(dataset, soft)
    if end is None or own is None:
        return "the plan itself; whether B's function is kept was not measured"
    change = float(np.abs(end - own).mean(dtype=np.float64))
    if change <= _SAME:
        return "the plan itself; B's function is kept"
    return f"the plan itself; B's FUNCTION CHANGED: losses at B move by {change:.2g} nats on average"
