"""What calibrates the test: pairs whose answer is known, made of the networks at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmc._types import StateDict
from lmc.conjectures.evidence import Bench
from lmc.conjectures.screening import USED, screen
from lmc.conjectures.verdicts import CONNECTED, NOT_CONNECTED, judge
from lmc.symmetry.planted import planted_pair

_NOISES = (0.1, 0.05, 0.02, 0.0)
"""Relative to each tensor's own standard deviation: the first that leaves the network able to solve its task."""


@dataclass(frozen=True, eq=False)
class Control:
    """A pair whose answer is known, and whether the test gave it.

    Parameters
    ----------
    name : str
        What was done.
    passed : bool
        Whether the verdict was the known one.
    barrier : float
        By the method that was chosen.
    bounds : array, shape (2,)
        Its interval.
    message : str
        What it means.
    """

    name: str
    passed: bool
    barrier: float
    bounds: NDArray[np.float64]
    message: str


def positive(bench: Bench, state: StateDict, ladder: Sequence[str]) -> Control:
    """Hide a permutation of a network from the ladder, and see whether it is found at this architecture and noise.

    Parameters
    ----------
    bench : Bench
        What measurements have in common.
    state : state dict
        A network that solves its task.
    ladder : sequence of str
        The methods that pairs are tried with.
    """
    for noise in _NOISES:
        copy, _ = planted_pair(state, bench.proof.spec, noise=noise, seed=bench.question.seed + 1)
        seen = screen(bench.module, {"copy": copy}, bench.data, bench.proof.spec, **bench.plain)
        if seen.solutions["copy"].status == USED:
            break
    (found,) = bench.climb([(state, copy)], ladder)
    (verdict,) = judge([{name: one.tried for name, one in found.items()}], bench.question)
    passed, best = verdict.word == CONNECTED, found[verdict.method].tried
    message = f"a permuted copy with {100 * noise:.0f}% noise is "
    if passed:
        plain = found[ladder[0]].tried.barrier
        message += f"found again by {verdict.method!r}; {ladder[0]!r} has {plain:.3g} there"
    elif late := bench.untried(found, ladder):
        message += f"not found again: no time was left for {', '.join(late)}, whose strength is not known"
    else:
        message += "not found again: that nothing is found says nothing"
    return Control(f"planted permutation, noise {noise:g}", passed, best.barrier, best.bounds, message)


def negative(bench: Bench, a: StateDict, b: StateDict, names: str) -> Control:
    """Replace the alignment of a pair by a random one, and see whether the test tells that from a good one."""
    tried = bench.measure(a, b, f"random?seed={bench.question.seed + 1}").tried
    (verdict,) = judge([{"random": tried}], bench.question)
    message = (
        "a random permutation does not connect them"
        if verdict.word == NOT_CONNECTED
        else "a random permutation is not surely over the tolerance either: being connected says little here"
    )
    passed = verdict.word == NOT_CONNECTED
    return Control(f"random permutation, {names}", passed, tried.barrier, tried.bounds, message)
