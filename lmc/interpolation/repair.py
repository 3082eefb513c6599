"""REPAIR: means and standard deviations of all units set to the interpolation of the ends', folded into the weights.

It holds wherever layers have units (``unit_layers.py``), with or without BatchNorm; a BatchNorm is reset first, and
then its affine part is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lmc._types import StateDict
from lmc.datasets import AbstractData, as_data
from lmc.evaluation.inputs import Normalizations, normalization_at
from lmc.interpolation.paths import AbstractPath
from lmc.interpolation.repairer import Repairer, Statistics, between
from lmc.interpolation.unit_layers import UnitLayers


def repair(
    module: nn.Module,
    state: StateDict,
    a: StateDict,
    b: StateDict,
    data: Any,
    *,
    t: float = 0.5,
    normalizations: Normalizations | None = None,
    batch_size: int = 500,
    memory: int = 2**30,
    output_layer: bool = False,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    r"""Return the state with the statistics of its units set to the interpolation of the ends'.

    .. math:: \mu = (1-t)\,\mu_A + t\,\mu_B, \qquad \sigma = (1-t)\,\sigma_A + t\,\sigma_B

    for every unit of every layer but those that make the network's output, over all examples (and positions). A layer
    without a bias can only be scaled: its standard deviations are those, its means need not be. A unit that does not
    vary at this point is only shifted.

    Parameters
    ----------
    module : nn.Module
        The network; it is copied, never changed.
    state : state dict
        A point between the ends; never changed.
    a, b : state dict
        The ends. Where there is BatchNorm, theirs is reset on the same data before they are measured.
    data : AbstractData, or whatever as_data takes
        Training data.
    t : float, in [0, 1]
        Where the point lies: the weight of B's statistics.
    normalizations : pair of Normalization or None, optional
        Constants of A and of B, interpolated along t; by default the data's own.
    batch_size : int
        Of the passes, where the data do not fit in one batch.
    memory : int, in bytes
        Room for the values of all examples between two layers: with enough of it one pass corrects all layers, else
        each layer takes one. The result is the same beyond rounding.
    output_layer : bool
        Whether to correct the layers that make the network's output; the paper does not.
    device, dtype
        Where and in which floating dtype to compute; statistics are summed in float64.

    Returns
    -------
    dict
        A new state dict of the same network.

    Raises
    ------
    ArchitectureError
        If a BatchNorm is used twice in one pass.
    DatasetError
        If a statistic is not finite.
    UsageError
        If the device or dtype cannot be used.

    References
    ----------
    .. [1] Jordan et al. REPAIR: REnormalizing Permuted Activations for Interpolation Repair. ICLR 2023.
    """
    known = as_data(data)
    work = Repairer(module, known, batch_size, memory, output_layer, device, dtype)
    pair = normalizations or (known.normalization, known.normalization)
    first, second = (work.end(end, constants)[0] for end, constants in zip((a, b), pair, strict=True))
    return work.corrected(state, normalization_at(pair, t), between(first, second, t))


@dataclass(frozen=True)
class RepairedPath(AbstractPath):
    """A path with REPAIR at every position; the ends stay what they are, but for BatchNorm, which is reset there too.

    The statistics of the ends are measured once, when they are first needed.

    Parameters
    ----------
    path : AbstractPath
        Where the tensors come from.
    module : nn.Module
        The network.
    data : AbstractData
        Training data.
    normalizations, batch_size, memory, output_layer, device, dtype
        As in :func:`repair`.
    """

    path: AbstractPath
    module: nn.Module
    data: AbstractData
    normalizations: Normalizations | None = None
    batch_size: int = 500
    memory: int = 2**30
    output_layer: bool = False
    device: str | torch.device = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The ends, with BatchNorm reset on the data."""
        return self.at(0.0), self.at(1.0)

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        layers = self.layers.layers
        corrected = [layer for layer in layers if layer.corrected]
        scaled = sum(not layer.shifts for layer in corrected)
        reset = any(layer.normalizes for layer in layers)
        repaired = f"REPAIR of {len(corrected)} layers on {self.data.name} {self.data.split}"
        bare = f" ({scaled} without a bias, scaled only)" if scaled else ""
        ends = "BatchNorm statistics reset, ends too" if reset else "ends as they are"
        return f"{self.path.description}; {repaired}{bare}; {ends}"

    @property
    def layers(self) -> UnitLayers:
        """What is corrected, in the order in which the network runs it, and what is left and why."""
        return self._work.found

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the inner path's state at ``t``, repaired; see :meth:`AbstractPath.at`."""
        state = self.path.at(t)
        if t in (0, 1):
            _, reset = self._measured_ends[int(t)]
            return state | {name: value.to(state[name], copy=True) for name, value in reset.items()}
        return self._work.corrected(state, normalization_at(self._pair, t), self.target(t))

    def target(self, t: float) -> Statistics:
        """Return the statistics that units should have at a position: those of the ends, interpolated."""
        (a, _), (b, _) = self._measured_ends
        return between(a, b, t)

    def measured(self, state: StateDict, t: float) -> Statistics:
        """Return the statistics that units do have in a state, with the inputs of a position, in one pass."""
        return self._work.measured(state, normalization_at(self._pair, t))

    @property
    def _pair(self) -> Normalizations:
        return self.normalizations or (self.data.normalization, self.data.normalization)

    @cached_property
    def _work(self) -> Repairer:
        settings = self.batch_size, self.memory, self.output_layer, self.device, self.dtype
        return Repairer(self.module, self.data, *settings)

    @cached_property
    def _measured_ends(self) -> list[tuple[Statistics, Mapping[str, Tensor]]]:
        return [self._work.end(self.path.at(t), normalization_at(self._pair, t)) for t in (0.0, 1.0)]
