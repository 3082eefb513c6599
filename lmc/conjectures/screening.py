"""Which checkpoints can bear on the conjecture: those that solve the task, and no two of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import nn

from lmc._types import StateDict
from lmc.alignment import align
from lmc.checkpoints import cosine
from lmc.datasets import AbstractData, Data
from lmc.evaluation import evaluate_path
from lmc.interpolation import LinearPath
from lmc.symmetry import PermutationSpec

USED = "used"

_SAME_RUN = 0.5
"""Independent runs have cosines near 0; epochs of one run and children of one parent are far above."""

_COPY = 0.9
"""Independent runs stay far below it after alignment; permuted copies, slightly noised even, do not."""

_MARGIN = 0.25
"""A network solves a task if it is surely over this share of the way from chance to everything right."""


@dataclass(frozen=True)
class Solution:
    """One checkpoint and whether it can be used.

    Parameters
    ----------
    loss, accuracy : float
        On the examples; accuracy is NaN where nothing can be right.
    status : str
        ``used``, or why it is not.
    """

    loss: float
    accuracy: float
    status: str = USED

    @property
    def rank(self) -> tuple[float, float]:
        """What solutions are sorted by, the best first; copies differ in the last digits only."""
        return -round(float(np.nan_to_num(self.accuracy)), 6), round(self.loss, 6)


@dataclass(frozen=True)
class Screened:
    """Checkpoints with their fate, and how alike those are that were compared.

    Parameters
    ----------
    solutions : dict of str to Solution
        In the order given.
    cosines : dict of (str, str) to (float, float)
        Cosine of two networks as they are, and after weight matching.
    """

    solutions: dict[str, Solution]
    cosines: dict[tuple[str, str], tuple[float, float]]

    @property
    def used(self) -> list[str]:
        """Names of those that are used."""
        return [name for name, one in self.solutions.items() if one.status == USED]


def screen(
    module: nn.Module, states: Mapping[str, StateDict], data: AbstractData, spec: PermutationSpec, **settings: Any
) -> Screened:
    """Set aside what proves nothing.

    Parameters
    ----------
    module : nn.Module
        The network.
    states : mapping of str to state dict
        Checkpoints by name.
    data : AbstractData
        What they are meant to solve.
    spec : PermutationSpec
        Symmetries of the network.
    **settings
        Of :func:`lmc.evaluation.evaluate_path`: ``device``, ``dtype``, ``loss``.

    Returns
    -------
    Screened
        Of networks of one run, or one and its permuted copy, the better one is used.
    """
    solutions = {name: _solution(module, state, data, settings) for name, state in states.items()}
    best_first = sorted(solutions, key=lambda name: solutions[name].rank)  # stable: of equals, the first given
    cosines: dict[tuple[str, str], tuple[float, float]] = {}
    used: list[str] = []
    for name in best_first:
        if solutions[name].status != USED:
            continue
        for other in used:
            alike = _alike(states[other], states[name], spec)
            cosines[other, name] = cosines[name, other] = alike
            if reason := _near(other, *alike, spec):
                solutions[name] = Solution(solutions[name].loss, solutions[name].accuracy, reason)
                break
        else:
            used.append(name)
    return Screened(solutions, cosines)


def _near(other: str, plain: float, aligned: float, spec: PermutationSpec) -> str:
    # Weights of a tiny network are alike by chance.
    parameters = sum(int(np.prod(shape)) for name, shape in spec.shapes.items() if name not in spec.buffers)
    by_chance = min(6 / max(parameters, 1) ** 0.5, 0.98)
    if plain > max(_SAME_RUN, by_chance):
        return f"the same run as {other} (cosine {plain:.2f})"
    if aligned > max(_COPY, by_chance) and parameters > 1000:
        return f"a permuted copy of {other} (cosine {plain:.2f}, aligned {aligned:.2f})"
    return ""


def _alike(a: StateDict, b: StateDict, spec: PermutationSpec) -> tuple[float, float]:
    moved = align(a, b, spec, method="weights?restarts=1").apply(b)
    return cosine(a, b), cosine(a, moved)


def _solution(module: nn.Module, state: StateDict, data: AbstractData, settings: Mapping[str, Any]) -> Solution:
    found = evaluate_path(module, LinearPath(state, state), [0.0], data, **settings)
    loss, accuracy = float(found.loss[0]), float("nan")
    if found.accuracy is not None and found.example_correct is not None:
        accuracy = float(found.accuracy[0])
        chance, n = _chance(data), found.example_correct.shape[1]
        sure = accuracy - ndtri(0.975) * np.sqrt(max(accuracy * (1 - accuracy), 1 / n) / n)
        if not sure > chance + _MARGIN * (1 - chance):
            return Solution(
                loss, accuracy, f"does not solve the task: {100 * accuracy:.1f}% right, chance is {100 * chance:.1f}%"
            )
    return Solution(loss, accuracy)


def _chance(data: AbstractData) -> float:
    """Return what always naming the most frequent class gets right, where that is known."""
    if isinstance(data, Data) and data.task == "classification":
        return float(torch.bincount(data.targets.flatten().long()).max()) / data.targets.numel()
    return 1 / (data.num_classes or 2)
