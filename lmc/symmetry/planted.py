"""Planted truth: a permuted, noised copy of a network, and the permutation that finds it again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import StateDict
from lmc.symmetry.spec import PermutationSpec


def planted_pair(
    state: StateDict, spec: PermutationSpec, *, noise: float = 0.0, seed: int = 0
) -> tuple[dict[str, Tensor], dict[str, NDArray[np.int64]]]:
    """Hide a permutation: return B, a permuted copy of A with noise added, and the permutation that undoes it.

    Parameters
    ----------
    state : mapping of str to Tensor
        A; left as it is.
    spec : PermutationSpec
        Symmetries of its network.
    noise : float
        Standard deviation of the noise, relative to each tensor's own.
    seed : int
        Seed of the permutation and the noise.

    Returns
    -------
    tuple
        State dict B, and the permutation ``p`` with ``spec.apply(B, p)`` equal to A up to the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    planted = spec.random(seed)
    noisy = {}
    for name, tensor in state.items():
        if noise and tensor.is_floating_point() and tensor.numel() > 1 and name not in spec.buffers:
            drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor = tensor + noise * tensor.std() * drawn
        noisy[name] = tensor
    return spec.apply(noisy, planted), spec.inverse(planted)
