"""The step between a dataset's raw inputs and a network: device, dtype, and each end's own normalisation."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from lmc._errors import UsageError
from lmc.datasets import Normalization

Normalizations: TypeAlias = tuple[Normalization | None, Normalization | None]
"""Constants that A and B were trained with; None for raw inputs."""


def normalization_at(pair: Normalizations, t: float) -> Normalization | None:
    """Return the normalisation at a position between two ends that were trained with their own constants.

    It stays outside the network: a shift folded into a convolution that pads with zeros would change its function at
    the border.

    Parameters
    ----------
    pair : two of Normalization or None
        Constants of A and of B.
    t : float, in [0, 1]
        Scale and shift are interpolated linearly, each end's own exactly at its end.

    Returns
    -------
    Normalization, or None where the raw input is what the network takes
    """
    a, b = pair
    if a == b or t in (0, 1):
        return b if t == 1 else a
    return (a or Normalization.identity()).interpolate(b or Normalization.identity(), t)


def network_inputs(
    inputs: Tensor, normalization: Normalization | None, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the batch as the network takes it: floats in the dtype and normalised, tokens as they are."""
    placed = inputs.to(device, dtype, non_blocking=True) if inputs.is_floating_point() else inputs.to(device)
    return placed if normalization is None else normalization(placed)


def resolve_device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    """Return the device.

    Raises
    ------
    UsageError
        If there is no such device here, or the dtype is not a floating one.
    """
    if not dtype.is_floating_point:
        raise UsageError(f"dtype must be a floating one (float32, float64, bfloat16, float16), not {dtype}.")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"The device {str(device)!r} cannot be used here ({reason}); 'cpu' always can.") from error
    return resolved
