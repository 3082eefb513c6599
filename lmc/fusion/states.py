"""State dicts combined tensor by tensor: sums in float64, dtypes and ties those of the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lmc._types import StateDict

Rule = Callable[[str, list[Tensor]], Tensor]
"""Name of a tensor, and its float64 values in every network, to the combined value."""


def combined(states: Sequence[StateDict], rule: Rule) -> dict[str, Tensor]:
    """Combine networks tensor by tensor.

    Parameters
    ----------
    states : sequence of state dict
        Of one architecture; none is modified.
    rule : callable
        Called once for each tensor that is floating, tied ones once under their first name.

    Returns
    -------
    dict of str to Tensor
        In the first state's dtypes, names that share a tensor there share one here; integers are the first's own.
    """
    done: dict[object, Tensor] = {}
    result = {}
    for name, first in states[0].items():
        key = (first.data_ptr(), first.shape, first.stride()) if first.numel() else name
        if key not in done:
            done[key] = first
            if first.is_floating_point():
                values = [state[name].detach().to(first.device, torch.float64) for state in states]
                done[key] = rule(name, values).to(first.dtype)
        result[name] = done[key]
    return result


def weighted_sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the sum of float64 tensors of one shape, each times its weight."""
    total = torch.zeros_like(values[0])
    for value, weight in zip(values, weights, strict=True):
        total += weight * value
    return total


def weighted_mean(states: Sequence[StateDict], mix: Sequence[float]) -> dict[str, Tensor]:
    """Return the mean of state dicts with shares, as :func:`combined` does it."""
    return combined(states, lambda _, values: weighted_sum(values, mix))
