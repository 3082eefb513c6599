"""The one verb: do these solutions lie in one basin once units are matched, and how sure is that."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lmc import schema
from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment import AbstractAlignment
from lmc.architectures import fit_state
from lmc.barriers.describe import describe_data
from lmc.barriers.grid import make_grid
from lmc.conjectures.controls import Control, negative, positive
from lmc.conjectures.dataset import Findings, to_dataset
from lmc.conjectures.evidence import Bench, Clock, Measured, Say
from lmc.conjectures.exhaustive import MOST, count, search
from lmc.conjectures.screening import screen
from lmc.conjectures.sets import fraction, strong
from lmc.conjectures.verdicts import Question, Verdict, judge
from lmc.datasets import as_data
from lmc.pipeline import Proof, citations_of, prove, resolve_alignments
from lmc.pipeline.compare import first_examples

LADDER = ("none", "weights?restarts=4&scale=plain", "activations")
"""Cheap ones first; a pair that one connects is not tried with the next."""

_NEGATIVES = 2


def conjecture(
    module: nn.Module,
    models: Mapping[str, StateDict],
    data: Any,
    *,
    ladder: Sequence[str] | None = None,
    align_data: Any = None,
    example_inputs: Tensor | Sequence[Any] | None = None,
    proof: Proof | None = None,
    tolerance: float = 0.02,
    metric: str | None = None,
    confidence: float = 0.95,
    points: int = 25,
    budget: float | None = None,
    controls: bool = True,
    seed: int = 0,
    refused: Mapping[str, str] | None = None,
    attrs: Mapping[str, Any] | None = None,
    say: Say | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Test the permutation conjecture on a set of solutions.

    Every pair is tried with the methods of a ladder until one connects it. The method is chosen on one half of the
    examples and its barrier reported on the other; claims over all pairs are corrected together (Holm). A pair is
    ``connected`` if its barrier is surely under the tolerance, and ``not connected by anything tried`` if those of all
    methods are surely over it and the ladder does find a permutation that is known to be there. Only where all
    permutations of a tiny network were tried is it ``not connected by any permutation``.

    Parameters
    ----------
    module : torch.nn.Module
        The network; its own weights do not matter, and it is left as it is.
    models : mapping of str to state dict
        Two or more solutions by name. Those that do not solve the task are set aside, and of those of one run, or
        permuted copies of each other, all but the best.
    data : (x, y), Dataset, DataLoader, iterable of batches, or AbstractData
        Examples to measure on, held in memory.
    ladder : sequence of str, optional
        Alignments, cheapest first; by default ``none``, ``weights?restarts=4&scale=plain`` and, with ``align_data``,
        ``activations``.
    align_data : as data, optional
        Training examples, for alignments that look at them.
    example_inputs, proof
        As in :func:`lmc.barrier`.
    tolerance : float
        What counts as no barrier: a share of the examples for the error (Frankle and others: 0.02), nats for the loss.
    metric : {"error", "loss"}, optional
        Whose barrier decides; the error where there is one.
    confidence : float, in (0, 1)
        Of all claims together.
    points : int
        Positions along each path.
    budget : float, in s, optional
        No method after the first is begun that would not end in this time; what was not tried is said.
    controls : bool
        Whether to run controls: a planted permutation that the ladder has to find, and random permutations that have
        to be told from good ones.
    seed : int
        Seed of everything drawn.
    refused : mapping of str to str, optional
        Checkpoints that are no solutions of this network, with the reason, to be named in the result.
    attrs : mapping, optional
        Provenance to store.
    say : callable, optional
        Takes a line for the user after every step.
    **settings
        As in :func:`lmc.measure_barrier`: ``recalibrate``, ``repair``, ``loss``, ``device``, ``dtype``, ``work``.

    Returns
    -------
    xarray.Dataset
        Kind "conjecture" of the schema.

    Raises
    ------
    UsageError
        If fewer than two solutions are left, each with its reason; if an option makes no sense.
    MismatchError
        If a state dict is not of the network.
    SymmetryError
        If the symmetries cannot be proved.

    References
    ----------
    .. [1] Entezari et al. The Role of Permutation Invariance in Linear Mode Connectivity. ICLR 2022.
    .. [2] Sharma et al. Simultaneous Linear Connectivity of Neural Networks modulo Permutation. 2024.

    Examples
    --------
    >>> import torch, lmc
    >>> x = torch.randn(400, 4)
    >>> data = (x, (x[:, 0] > 0).long())
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> runs = {str(seed): lmc.train(mlp, lmc.as_data(data), epochs=9, seed=seed).state for seed in (0, 1)}
    >>> found = lmc.conjecture(mlp, runs, data, controls=False)  # doctest: +SKIP
    """
    measured = as_data(data)
    question = _question(measured, tolerance, metric, confidence, points, seed)
    ladder, methods = _ladder(ladder, align_data is not None, seed)
    schema.check_attrs(schema.sanitize_attrs(attrs or {}))
    states = {name: fit_state(state, module, name) for name, state in models.items()}
    inputs = first_examples(measured) if example_inputs is None else example_inputs
    proof = proof or prove(module, inputs)
    told: Say = say or (lambda text: None)
    aligning = None if align_data is None else as_data(align_data, name="alignment data", split="train")
    clock = Clock(budget)
    looking = {name: aligning for name, method in methods.items() if method.needs == "data"}
    bench = Bench(module, measured, question, proof, settings, looking, clock, told)
    screened = screen(module, states, measured, proof.spec, **bench.plain)
    for name, one in screened.solutions.items():
        if one.status != "used":
            told(f"{name}: {one.status}")
    used = screened.used
    if len(used) < 2:
        raise UsageError(_too_few(screened.solutions, refused or {}))
    study = _Study(bench, {name: states[name] for name in used}, ladder)
    known = study.controls(controls)
    tried, verdicts = study.verdicts(all(one.passed for one in known[:1]))
    shares = fraction(verdicts, study.pairs, confidence, seed)
    one_each = strong(bench, study.states, study.pairs) if len(used) > 2 and clock.allows("none") else None
    findings = Findings(
        question, screened, refused or {}, study.pairs, ladder, tried, verdicts, known, shares, one_each
    )
    about = {**bench_attrs(bench, budget), "citations": citations_of(ladder)}
    return to_dataset(findings, measured, {**about, **(attrs or {})})


def bench_attrs(bench: Bench, budget: float | None) -> dict[str, Any]:
    """Return how everything was measured, as attributes."""
    return {
        **describe_data(bench.data, (bench.data.normalization, bench.data.normalization)),
        "symmetry_groups": len(bench.proof.spec.groups),
        "symmetry_units": bench.proof.spec.units,
        "symmetry_error": bench.proof.verification.error,
        "budget": budget,
        "threads": torch.get_num_threads(),
    }


def _ladder(asked: Sequence[str] | None, data: bool, seed: int) -> tuple[tuple[str, ...], dict[str, AbstractAlignment]]:
    """Return the methods, in the order in which they are tried; refuse one that would lack its data."""
    methods = resolve_alignments(list(asked or LADDER), seed)
    blind = [name for name, method in methods.items() if method.needs == "data" and not data]
    if asked and blind:
        raise UsageError(f"Alignment {blind[0]!r} looks at training examples: pass them as align_data=.")
    kept = {name: method for name, method in methods.items() if name not in blind}
    return tuple(kept), kept


def _question(data: Any, tolerance: float, metric: str | None, confidence: float, points: int, seed: int) -> Question:
    if metric is None:
        metric = "loss" if data.task == "regression" else "error"
    if metric not in ("error", "loss") or (metric == "error" and data.task == "regression"):
        raise UsageError(f"metric is {metric!r}: 'error' needs classes or tokens; 'loss' is always there.")
    if not 0 < tolerance < np.inf:
        raise UsageError(f"tolerance must be a positive number, not {tolerance!r}.")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence!r}.")
    return Question(make_grid(points), tolerance, metric, confidence, seed)


def _too_few(solutions: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    lines = [f"  {name}: {one.status}" for name, one in solutions.items()]
    lines += [f"  {name}: {reason}" for name, reason in refused.items()]
    return "\n".join(["The conjecture is about two solutions or more of independent runs; of those given:", *lines])


@dataclass(frozen=True, eq=False)
class _Study:
    bench: Bench
    states: Mapping[str, StateDict]
    ladder: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(itertools.combinations(self.states, 2))

    def controls(self, wanted: bool) -> list[Control]:
        if not wanted:
            return []
        first = next(iter(self.states))
        found = [positive(self.bench, self.states[first], self.ladder)]
        for a, b in self.pairs[:_NEGATIVES]:
            found.append(negative(self.bench, self.states[a], self.states[b], f"{a} and {b}"))
        for one in found:
            self.bench.say(f"control   {one.message}")
        return found

    def verdicts(self, recovers: bool) -> tuple[list[dict[str, Measured]], list[Verdict]]:
        ends = [(self.states[a], self.states[b]) for a, b in self.pairs]
        tried = self.bench.climb(ends, self.ladder)
        untried = [self.bench.untried(one, self.ladder) for one in tried]
        known = [{name: one.tried for name, one in found.items()} for found in tried]
        verdicts = judge(known, self.bench.question, untried=untried, recovers=recovers)
        if count(self.bench.proof.spec) <= MOST:
            verdicts = search(self.bench, ends)
        return tried, verdicts
