"""Measurements of pairs, one method at a time: curves, and what is known of their barriers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from lmc._types import StateDict
from lmc.conjectures.verdicts import Halves, Question, Tried, halves, look
from lmc.datasets import AbstractData, Data
from lmc.pipeline import Proof, barrier, resolve_alignments
from lmc.pipeline.compare import align_all
from lmc.units import WorkFolder

Say = Callable[[str], object]

_FEW = 500
"""Examples of either half at the first look."""

_HOPELESS = 1e-5
"""Error probability of the claim that the barrier is over the tolerance from which a first look is enough."""


def _first(p: float) -> float:
    return min(10 * p, 1.0)


def _second(p: float) -> float:
    return min(10 / 9 * p, 1.0)


@dataclass(frozen=True, eq=False)
class Measured:
    """One method on one pair.

    Parameters
    ----------
    curves : xarray.Dataset
        Kind "barrier", one row, without the values of single examples.
    tried : Tried
        What is known of it.
    promising : bool
        Whether the half that methods are chosen on has its barrier surely under the tolerance.
    seconds : float
        Time it took, alignment included.
    """

    curves: xr.Dataset
    tried: Tried
    promising: bool
    seconds: float


class Clock:
    """Time that may be spent, and what steps of each kind took so far."""

    def __init__(self, budget: float | None = None) -> None:
        self._end = math.inf if budget is None else time.perf_counter() + budget
        self._took: dict[str, float] = {}

    def allows(self, kind: str) -> bool:
        """Say whether another step of the kind fits, by the longest one so far."""
        return time.perf_counter() + self._took.get(kind, 0.0) <= self._end

    def note(self, kind: str, seconds: float) -> None:
        """Remember how long a step took."""
        self._took[kind] = max(seconds, self._took.get(kind, 0.0))


@dataclass(frozen=True, eq=False)
class Bench:
    """What every measurement has in common.

    Parameters
    ----------
    module : nn.Module
        The network.
    data : AbstractData
        Examples that barriers are measured on.
    question : Question
        What is asked.
    proof : Proof
        Symmetries of the network, verified.
    settings : mapping
        Further settings of :func:`lmc.barrier`.
    align_data : mapping of str to AbstractData
        Training examples for the methods that look at them.
    clock : Clock
        Time that is left.
    say : callable
        Takes one line for the user.
    """

    module: nn.Module
    data: AbstractData
    question: Question
    proof: Proof
    settings: Mapping[str, Any] = field(default_factory=dict)
    align_data: Mapping[str, AbstractData | None] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    say: Say = lambda text: None

    @property
    def plain(self) -> dict[str, Any]:
        """Those of the settings that evaluating a single network has too."""
        return {name: self.settings[name] for name in ("device", "dtype", "loss") if name in self.settings}

    def measure(self, a: StateDict, b: StateDict, method: str) -> Measured:
        """Align B to A and measure the path: on a few examples first, and on all unless that settles it.

        Where the few already say that the barrier is over the tolerance, with an error probability far beyond what is
        asked for, the rest is left. That claim is then made at either of two looks, which share its error probability
        one to nine (Bonferroni); the claim that it is under the tolerance is made of all examples only.
        """
        start = time.perf_counter()
        moved = self._aligned(a, b, method)
        curves, tried, promising = self._first_look(a, moved) or self._along(a, moved, self.data)
        seconds = time.perf_counter() - start
        self.clock.note(method, seconds)
        return Measured(curves, tried, promising, seconds)

    def _aligned(self, a: StateDict, b: StateDict, method: str) -> StateDict:
        methods = resolve_alignments([method], self.question.seed)
        given = {"data": self.align_data.get(method), "module": self.module}
        found = align_all(methods, a, b, self.proof, work=WorkFolder.of(self.settings.get("work")), **given)
        return found[method].apply(b) if method in found else b

    def _first_look(self, a: StateDict, b: StateDict) -> tuple[xr.Dataset, Tried, bool] | None:
        """Return what a few examples say, None where that is not enough."""
        if not self._two_looks or not isinstance(self.data, Data):
            return None
        chosen, reported = halves(self.data.size, self.question.seed, most=_FEW)
        rows = torch.from_numpy(np.concatenate([chosen, reported]))
        few = replace(self.data, inputs=self.data.inputs[rows], targets=self.data.targets[rows])
        split = np.arange(len(chosen)), np.arange(len(chosen), len(rows))
        curves, tried, _ = self._along(a, b, few, split)
        if tried.p_above > _HOPELESS:
            return None
        return curves, replace(tried, p_above=_first(tried.p_above)), False

    @property
    def _two_looks(self) -> bool:
        """Whether the few examples cost much less than all."""
        passes = any(self.settings.get(name) is not None for name in ("recalibrate", "repair"))
        return isinstance(self.data, Data) and self.data.size >= 8 * _FEW and not passes

    def _along(
        self, a: StateDict, b: StateDict, data: AbstractData, split: Halves | None = None
    ) -> tuple[xr.Dataset, Tried, bool]:
        found = barrier(
            self.module,
            a,
            b,
            data,
            align=["none"],
            proof=self.proof,
            seed=self.question.seed,
            t=self.question.t,
            resamples=100,  # intervals are made here, on one half of the examples each
            **self.settings,
        ).isel(alignment=0)
        values = found.example_loss if self.question.metric == "loss" else 1 - found.example_correct.astype(np.float32)
        matrix = np.ascontiguousarray(values.transpose("example", "t").values)
        tried = look(matrix, self.question, split)
        if split is None and self._two_looks:
            tried = replace(tried, p_above=_second(tried.p_above))
        split = split or halves(len(matrix), self.question.seed)
        return found.drop_dims("example"), tried, self.question.promising(matrix, split)

    def climb(self, pairs: Sequence[tuple[StateDict, StateDict]], ladder: Sequence[str]) -> list[dict[str, Measured]]:
        """Try methods on pairs, rung by rung: a pair that one half of the examples already calls connected is left.

        Parameters
        ----------
        pairs : sequence of (A, B)
            State dicts.
        ladder : sequence of str
            Methods in the order in which they are tried.

        Returns
        -------
        list of dict
            For each pair, method to measurement; a method is missing where it was not needed or had no time.
        """
        found: list[dict[str, Measured]] = [{} for _ in pairs]
        for rung, method in enumerate(ladder):
            waiting = [i for i, tried in enumerate(found) if not self.settled(tried)]
            for i in waiting:
                if rung and not self.clock.allows(method):  # the first rung is what everything else is compared with
                    return found
                found[i][method] = self.measure(*pairs[i], method)
            if waiting:
                left = sum(not self.settled(tried) for tried in found)
                pairs_tried = f"{len(waiting)} pair{'s' if len(waiting) > 1 else ''} tried"
                self.say(f"{method}: {pairs_tried}, {left} not connected by it or anything before")
        return found

    def settled(self, tried: Mapping[str, Measured]) -> bool:
        """Say whether any method is surely under the tolerance on the half that methods are chosen on."""
        return any(one.promising for one in tried.values())

    def untried(self, tried: Mapping[str, Measured], ladder: Sequence[str]) -> list[str]:
        """Return the methods that there was no time for."""
        return [] if self.settled(tried) else [method for method in ladder if method not in tried]
