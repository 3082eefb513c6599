"""Mean and standard deviation of every unit of a layer, over batches, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 2**22
"""Values that are held in float64 at a time: 32 MiB."""


@dataclass(frozen=True)
class Moments:
    """Statistics of the units of one layer.

    Parameters
    ----------
    mean, std : float64 tensors on the CPU, shape (units,)
        ``std`` is that of the values seen (divided by their number).
    count : int
        Values of each unit: examples, times positions where there are any.
    """

    mean: Tensor
    std: Tensor
    count: int

    def between(self, other: Moments, t: float) -> Moments:
        """Return (1 - t) of these means and standard deviations and t of the other's; the count is this one's."""
        return Moments(torch.lerp(self.mean, other.mean, t), torch.lerp(self.std, other.std, t), self.count)

    def mapped(self, scale: Tensor, shift: Tensor) -> Moments:
        """Return the statistics of ``scale * x + shift``."""
        return Moments(scale * self.mean + shift, scale.abs() * self.std, self.count)


class MomentSums:
    """Running statistics of the units along one axis; batches weigh by their values.

    References
    ----------
    .. [1] Chan, Golub, LeVeque. Updating Formulae and a Pairwise Algorithm for Computing Sample Variances. 1979.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, values: Tensor, axis: int) -> None:
        """Count a batch; ``values`` has units along ``axis``; large ones are taken in parts along the first dim."""
        if not values.numel():
            return
        if axis + values.dim() == 0:  # no batch: one example, whose units come first
            values = values[None]
        others = [dim for dim in range(values.dim()) if dim != axis % values.dim()]
        for part in values.split(max(1, _CHUNK * len(values) // values.numel())):
            wide = _wide(part)
            mean = wide.mean(others, keepdim=True)
            squares = wide.sub_(mean).square_().sum(others)
            self._merge(wide.numel() // mean.numel(), mean.flatten().cpu(), squares.cpu())

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        total = self.count + count
        delta = mean - self._mean
        self._mean = self._mean + delta * (count / total)
        self._squares = self._squares + squares + delta.square() * (self.count * count / total)
        self.count = total

    @property
    def moments(self) -> Moments:
        """What the values seen so far give."""
        return Moments(self._mean, (self._squares / max(self.count, 1)).sqrt(), self.count)


def _wide(values: Tensor) -> Tensor:
    """Return a copy in float64, on the CPU where the device has no such numbers."""
    return (values.cpu() if values.device.type == "mps" else values).to(torch.float64, copy=True)
