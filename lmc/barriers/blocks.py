"""The door from an adaptive search to the evaluation: positions and a block of examples in, values out, all kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.datasets import Data
from lmc.evaluation import evaluate_path
from lmc.interpolation import AbstractPath

_MOST = 4096
"""Examples copied out of the set at a time."""


@dataclass
class Blocks:
    """The one door to the evaluation: positions and a block of the order drawn, to values of the examples.

    Keeps every loss, and what was right, by position, so that the result holds what was computed.
    """

    module: nn.Module
    path: AbstractPath
    data: Data
    t: NDArray[np.float64]
    order: NDArray[np.int64]
    metric: str
    options: Mapping[str, Any]
    loss: dict[int, list[NDArray[np.float32]]] = field(default_factory=dict)
    correct: dict[int, list[NDArray[Any]]] = field(default_factory=dict)
    seconds: float = 0.0

    def read(self, positions: Sequence[int], start: int, stop: int) -> NDArray[np.float64]:
        """Return losses, or errors, shape (position, example)."""
        started = time.perf_counter()
        found = []
        for begin in range(start, stop, _MOST):
            block = _some(self.data, self.order[begin : min(begin + _MOST, stop)])
            done = evaluate_path(self.module, self.path, self.t[list(positions)], block, **self.options)
            for row, position in enumerate(positions):
                self.loss.setdefault(position, []).append(done.example_loss[row])
                if done.example_correct is not None:
                    self.correct.setdefault(position, []).append(done.example_correct[row])
            found.append(self._asked(done.example_loss, done.example_correct))
        self.seconds += time.perf_counter() - started
        return np.concatenate(found, axis=1)

    def _asked(self, loss: NDArray[np.float32], correct: NDArray[Any] | None) -> NDArray[np.float64]:
        if self.metric == "loss":
            return loss.astype(np.float64)
        if correct is None:
            raise UsageError("Nothing can be correct here, so there is no error: metric='loss' is its barrier.")
        return 1.0 - correct

    def ragged(self, kept: Mapping[int, list[NDArray[Any]]]) -> NDArray[Any]:
        """Return what was kept, position after position."""
        return np.concatenate([part for position in sorted(kept) for part in kept[position]])

    def means(self, kept: Mapping[int, list[NDArray[Any]]]) -> NDArray[np.float64]:
        """Return the means over the examples evaluated at each position, NaN where there are none."""
        found = np.full(len(self.t), np.nan)
        for position, parts in kept.items():
            found[position] = np.concatenate(parts).mean(dtype=np.float64)
        return found


@dataclass(frozen=True)
class KeptPath(AbstractPath):
    """A path whose states are costly to make, each made once."""

    path: AbstractPath
    states: dict[float, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The path's own."""
        return self.path.ends

    @property
    def description(self) -> str:
        """The path's own."""
        return self.path.description

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the path's state at a position, the same tensors each time: they are not to be written to."""
        if t not in self.states:
            self.states[t] = self.path.at(t)
        return self.states[t]


def _some(data: Data, index: NDArray[np.int64]) -> Data:
    chosen = torch.as_tensor(index)
    return replace(data, inputs=data.inputs[chosen], targets=data.targets[chosen])
