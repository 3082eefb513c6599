"""Every permutation of a tiny network, so that "no permutation connects them" can be said and proved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from lmc._types import Permutation, StateDict
from lmc.conjectures.evidence import Bench
from lmc.conjectures.verdicts import NOT_CONNECTED, PROVED, Verdict, judge, look
from lmc.evaluation import evaluate_path
from lmc.interpolation import LinearPath
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


def search(bench: Bench, a: StateDict, b: StateDict) -> Verdict:
    """Try every permutation of B.

    Returns
    -------
    Verdict
        ``connected`` by one that was chosen on the other half of the examples; ``not connected by any permutation``
        where every single one is surely over the tolerance; else ``undecided``. The method is its number.
    """
    tried = {}
    for number, permutation in enumerate(every_permutation(bench.proof.spec)):
        path = LinearPath(a, bench.proof.spec.apply(b, permutation))
        seen = evaluate_path(bench.module, path, bench.question.t, bench.data)
        values = seen.example_loss if bench.question.metric == "loss" else 1.0 - np.asarray(seen.example_correct)
        tried[f"permutation {number}"] = look(np.asarray(values, dtype=np.float64).T, bench.question)
    (verdict,) = judge([tried], bench.question)
    if verdict.word != NOT_CONNECTED:
        return verdict
    return Verdict(PROVED, verdict.method, verdict.p, f"all {len(tried)} permutations were tried")
