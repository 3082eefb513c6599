"""Pairs whose verdict is known, and how often the test gives it; as a script, the table of 200 runs of each kind.

    python tests/known_truth.py [runs]

Examples are drawn from a population so large that the barriers on it are the truth. A verdict is right if it holds
there: ``connected``, where the method chosen, and the permutation that was hidden if one was, stay under the tolerance;
``not connected by anything tried``, where all of them stay over it; ``by any permutation``, where every one does.

``planted``: a permuted copy of a trained network with noise of growing size. ``tiny``: Git Re-Basin's pair of 2-2-2-1
networks, that no permutation connects, and permuted copies of one of them, all permutations searched. ``random``: two
trained networks, and a random permutation in place of the alignment: ``connected`` is false there.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

import lmc
from lmc._types import StateDict
from lmc.conjectures.evidence import Bench
from lmc.conjectures.exhaustive import every_permutation, search
from lmc.conjectures.verdicts import CONNECTED, NOT_CONNECTED, PROVED, UNDECIDED, Question, judge
from lmc.pipeline import Proof, prove
from lmc.testing import planted_pair

T = np.linspace(0, 1, 9)
TOLERANCE = 0.02
LADDER = ("none", "weights?restarts=4&scale=plain")
POPULATION = 40_000
DRAWN = 10_000
"""Examples of one run: as many as the test sets have that people use."""

NOISES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


def examples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of a square and which of three rings around its middle they lie in."""
    x = 2 * torch.rand((count, 2), generator=torch.Generator().manual_seed(seed)) - 1
    return x, (x.norm(dim=1) / 0.45).long().clamp(max=2)


def quadrant(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of a square and whether both coordinates are positive."""
    x = 2 * torch.rand((count, 2), generator=torch.Generator().manual_seed(seed)) - 1
    return x, (x >= 0).all(1).long()


@cache
def trained() -> tuple[nn.Module, tuple[StateDict, ...], Proof]:
    """Return a small network, four runs of it, and its symmetries."""
    data = lmc.as_data(examples(2000, 1))
    module = lmc.resolve("mlp?widths=2,32,32,3", seed=0).module
    starts = [lmc.resolve("mlp?widths=2,32,32,3", seed=seed).module for seed in range(4)]
    runs = tuple(lmc.train(one, data, epochs=20, lr=1e-2, seed=seed).state for seed, one in enumerate(starts))
    return module, runs, prove(module, (data.inputs[:2],))


@cache
def tiny() -> tuple[nn.Module, tuple[StateDict, StateDict], Proof]:
    """Return Git Re-Basin's counterexample (Ainsworth et al., 2023): two solutions, four permutations, none of help."""
    module = lmc.resolve("mlp?widths=2,2,2,2&activation=leaky_relu", seed=0).module

    def state(*values: Any) -> StateDict:
        read_out = ([[0, 0], [-1, -1]], [0, 0])
        names = module.state_dict()
        return {key: torch.tensor(v, dtype=torch.float32) for key, v in zip(names, (*values, *read_out), strict=True)}

    a = state([[1, 0], [0, -1]], [1, 0], [[-1, 0], [0, 1]], [1, 0])
    b = state([[-1, 0], [0, 1]], [0, 1], [[1, 0], [0, -1]], [0, 1])
    return module, (a, b), prove(module, (quadrant(2, 0)[0],))


@cache
def population(task: Any) -> lmc.Data:
    """Return the examples that decide what is true."""
    return lmc.as_data(task(POPULATION, 987_654))


def truth(module: nn.Module, a: StateDict, moved: Mapping[str, StateDict], task: Any) -> dict[str, float]:
    """Return the error barrier of every aligned B on the population."""
    paths = {name: lmc.LinearPath(a, b) for name, b in moved.items()}
    found = lmc.measure_barrier(module, paths, population(task), t=T, resamples=2)
    return dict(zip(moved, found.error_barrier.sel(baseline="chord").values.tolist(), strict=True))


def bench(module: nn.Module, proof: Proof, task: Any, seed: int, drawn: int = DRAWN) -> Bench:
    """Return what measurements of one run share: examples of its own."""
    return Bench(module, lmc.as_data(task(drawn, 10_000 + seed)), Question(T, TOLERANCE, seed=seed), proof)


def planted(seed: int) -> str:
    """Judge a noised, permuted copy; return how that went."""
    module, runs, proof = trained()
    a = runs[seed % len(runs)]
    b, undo = planted_pair(a, proof.spec, noise=NOISES[seed % len(NOISES)], seed=seed)
    here = bench(module, proof, examples, seed)
    (found,) = here.climb([(a, b)], LADDER)
    (verdict,) = judge([{name: one.tried for name, one in found.items()}], here.question)
    moved = {
        name: b if name == "none" else lmc.align(a, b, proof.spec, method=f"{name}&seed={seed}").apply(b)
        for name in found
    }
    true = truth(module, a, {**moved, "planted": proof.spec.apply(b, undo)}, examples)
    return outcome(verdict.word, true, verdict.method, hidden=True)


def exhaustive(seed: int) -> str:
    """Judge the counterexample, or a permuted copy of one of its networks, by search; return how that went."""
    module, (a, b), proof = tiny()
    shaken, _ = planted_pair(a if seed % 2 else b, proof.spec, noise=0.02, seed=seed)
    (verdict,) = search(bench(module, proof, quadrant, seed), [(a, shaken)])
    moved = {f"permutation {i}": proof.spec.apply(shaken, p) for i, p in enumerate(every_permutation(proof.spec))}
    return outcome(verdict.word, truth(module, a, moved, quadrant), verdict.method)


def random(seed: int) -> str:
    """Judge two runs under a random permutation; return how that went."""
    module, runs, proof = trained()
    a, b = runs[seed % 4], runs[(seed + 1 + seed // 4 % 3) % 4]
    name = f"random?seed={seed}"
    here = bench(module, proof, examples, seed)
    (verdict,) = judge([{name: here.measure(a, b, name).tried}], here.question)
    moved = {name: lmc.align(a, b, proof.spec, method=name).apply(b)}
    return outcome(verdict.word, truth(module, a, moved, examples), name)


def outcome(word: str, true: Mapping[str, float], method: str, *, hidden: bool = False) -> str:
    """Return ``right``, ``undecided`` or what was said falsely."""
    if word == UNDECIDED:
        return UNDECIDED
    if word == CONNECTED:
        return "right" if true[method] < TOLERANCE and (not hidden or true["planted"] < TOLERANCE) else f"false: {word}"
    assert word in (NOT_CONNECTED, PROVED)
    return "right" if min(true.values()) > TOLERANCE else f"false: {word}"


KINDS = {"planted": planted, "tiny": exhaustive, "random": random}


def counts(kind: str, runs: int) -> Counter[str]:
    """Return how often each outcome was met."""
    return Counter(KINDS[kind](seed) for seed in range(runs))


def table(runs: int) -> Iterator[str]:
    """Yield the table, a line a kind."""
    yield f"{'kind':<10}{'runs':>6}{'right':>8}{'undecided':>11}{'false':>7}"
    for kind in KINDS:
        found = counts(kind, runs)
        false = sum(number for word, number in found.items() if word.startswith("false"))
        yield f"{kind:<10}{runs:>6}{found['right']:>8}{found[UNDECIDED]:>11}{false:>7}"
        yield from (f"    {word}: {number}" for word, number in found.items() if word.startswith("false"))


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 200):
        print(line, flush=True)
