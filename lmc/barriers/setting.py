"""What a quantity beyond the barriers is computed from, and how a network is run at a few positions at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc.datasets import AbstractData
from lmc.evaluation import Normalizations, normalization_at
from lmc.evaluation.engine import load_copy
from lmc.evaluation.inputs import network_inputs, resolve_device
from lmc.evaluation.losses import Loss
from lmc.interpolation import AbstractPath

_BATCH = 128

Variables: TypeAlias = dict[str, tuple[tuple[str, ...], Any]]
"""Names of the schema to dims, but for ``alignment``, and values."""


@dataclass(frozen=True)
class Setting:
    """How the paths of a result are evaluated.

    Parameters
    ----------
    module, data, loss, normalizations, device, dtype, batch_size
        As in :func:`lmc.evaluation.evaluate_path`.
    t : array, shape (t,), in [0, 1]
        Positions of the curves.
    memory : int
        Bytes for positions that are held at the same time.
    """

    module: nn.Module
    data: AbstractData
    t: NDArray[np.float64]
    normalizations: Normalizations
    loss: Loss | None = None
    device: str | torch.device = "cpu"
    dtype: torch.dtype = torch.float32
    batch_size: int | None = None
    memory: int = 2**30

    def networks(self, path: AbstractPath, positions: Sequence[float]) -> list[nn.Module]:
        """Return a copy of the network at each position, in eval mode and without gradients."""
        device = resolve_device(self.device, self.dtype)
        return [load_copy(self.module, path.at(t), device, self.dtype).eval() for t in positions]

    def batches(self, positions: Sequence[float], examples: int | None = None) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Yield the inputs of every position, and the targets; of the first ``examples`` only, where that is given."""
        device = resolve_device(self.device, self.dtype)
        constants = [normalization_at(self.normalizations, t) for t in positions]
        left = examples
        for inputs, targets in self.data.batches(self.batch_size or _BATCH):
            inputs, targets = inputs[:left], targets[:left].to(device)
            yield [network_inputs(inputs, c, device, self.dtype) for c in constants], targets
            left = None if left is None else left - len(inputs)
            if left == 0:
                return


Quantity: TypeAlias = Callable[[Setting, AbstractPath], Variables]
"""A quantity of one path."""
