"""The networks of ``symmetry/networks.py`` with their specs, found once for all tests of a session."""

from __future__ import annotations

import functools

import torch
from symmetry.networks import CASES
from torch import Tensor, nn

from lmc.symmetry import PermutationSpec, find_symmetries

WITH_GROUPS = [name for name, case in CASES.items() if case.sizes]


@functools.cache
def known(name: str) -> tuple[nn.Module, dict[str, Tensor], PermutationSpec]:
    """Return a network, its state dict and its spec; not to be changed."""
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build().eval()
    return model, model.state_dict(), find_symmetries(model, case.inputs())
