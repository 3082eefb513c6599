"""Scale and shift of the input, kept apart from the examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lmc._errors import UsageError


@dataclass(frozen=True)
class Normalization:
    r"""Constants that a network's inputs were normalised with.

    .. math:: \hat{x}_c = (x_c - \mathrm{mean}_c) / \mathrm{std}_c

    Parameters
    ----------
    mean, std : tuple of float
        One value per channel (dim 1 of a batch), or a single one for all.

    Raises
    ------
    UsageError
        If the lengths differ, a value is not finite, or a standard deviation is zero.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise UsageError(f"Normalisation needs one std for each mean; got mean={self.mean}, std={self.std}.")
        if not np.isfinite((*self.mean, *self.std)).all() or 0 in self.std:
            raise UsageError(
                f"Normalisation needs finite values and std above 0; got mean={self.mean}, std={self.std}."
            )

    @classmethod
    def identity(cls) -> Normalization:
        """Return the normalisation that changes nothing."""
        return cls((0.0,), (1.0,))

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """Return float32 ``scale`` and ``shift``, shape (channels,), such that normalised = x * scale + shift."""
        scale = 1 / np.asarray(self.std, dtype=np.float64)
        shift = -np.asarray(self.mean, dtype=np.float64) * scale
        return torch.from_numpy(scale.astype(np.float32)), torch.from_numpy(shift.astype(np.float32))

    def interpolate(self, other: Normalization, t: float) -> Normalization:
        """Return the normalisation whose scale and shift lie at ``t`` between this one's (0) and the other's (1).

        The scale and shift belong to the network's input as a first layer's weights would, so it is they that move in
        a straight line, not the mean and the standard deviation.
        """
        if t == 0 or self == other:
            return self
        if t == 1:
            return other
        mean_a, std_a, mean_b, std_b = np.broadcast_arrays(self.mean, self.std, other.mean, other.std)
        scale = (1 - t) / std_a + t / std_b
        shift = -(1 - t) * mean_a / std_a - t * mean_b / std_b
        return Normalization(tuple((-shift / scale).tolist()), tuple((1 / scale).tolist()))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalise a batch, shape (batch, channels, ...), floating point."""
        scale, shift = (
            value.to(inputs.device, inputs.dtype).view(1, -1, *(1,) * (inputs.ndim - 2)) for value in self.scale_shift()
        )
        return inputs * scale + shift

    def __str__(self) -> str:
        return f"mean {', '.join(f'{m:.4g}' for m in self.mean)}, std {', '.join(f'{s:.4g}' for s in self.std)}"


PRESETS: dict[str, Normalization | None] = {
    "none": None,
    "mnist": Normalization((0.1307,), (0.3081,)),
    "fashion-mnist": Normalization((0.2860,), (0.3530,)),
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Normalization((0.5,), (0.5,)),
}
"""What ``normalize=`` takes, for inputs in [0, 1]."""
