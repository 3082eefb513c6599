"""Every permutation of a tiny network, so that "no permutation connects them" can be said and proved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from lmc._types import Permutation, StateDict
from lmc.conjectures.evidence import Bench
from lmc.conjectures.verdicts import NOT_CONNECTED, PROVED, Verdict, judge
from lmc.symmetry import PermutationSpec

MOST = 1000
"""Permutations that are tried one by one."""


def count(spec: PermutationSpec) -> float:
    """Return how many permutations there are; infinite where that is more than can ever be tried."""
    return math.inf if spec.log10_size > 15 else round(10**spec.log10_size)


def every_permutation(spec: PermutationSpec) -> Iterator[Permutation]:
    """Yield all permutations, the one that moves nothing first."""
    blocks = [(group, range(group.blocks)) for group in spec.groups]
    orders = [itertools.permutations(range(group.size)) for group, each in blocks for _ in each]
    for chosen in itertools.product(*map(list, orders)):
        rest, found = iter(chosen), {}
        for group, each in blocks:
            found[group.name] = np.array([next(rest) for _ in each], dtype=np.int64).reshape(group.shape)
        yield found


def search(bench: Bench, pairs: Sequence[tuple[StateDict, StateDict]]) -> list[Verdict]:
    """Try every permutation of B in every pair, and judge the pairs together.

    Parameters
    ----------
    bench : Bench
        What measurements have in common.
    pairs : sequence of (A, B)
        State dicts.

    Returns
    -------
    list of Verdict
        ``connected`` by one that was chosen on the other half of the examples; ``not connected by any permutation``
        where every single one is surely over the tolerance; else ``undecided``. The method is its number.
    """
    spec = bench.proof.spec
    tried = [
        {
            f"permutation {number}": bench.measure(a, spec.apply(b, permutation), "none").tried
            for number, permutation in enumerate(every_permutation(spec))
        }
        for a, b in pairs
    ]
    return [
        Verdict(PROVED, one.method, one.p, f"all {len(each)} permutations were tried")
        if one.word == NOT_CONNECTED
        else one
        for one, each in zip(judge(tried, bench.question), tried, strict=True)
    ]
