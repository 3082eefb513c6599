"""Networks with a permutation hidden in them, and examples to run them on."""

from __future__ import annotations

from typing import Any

import torch
from symmetry.networks import CASES
from torch import Tensor, nn

from lmc.symmetry import PermutationSpec, find_symmetries


def planted(
    name: str, examples: int = 64
) -> tuple[nn.Module, PermutationSpec, dict[str, Tensor], dict, dict[str, Any]]:
    """Return a network with no two units alike, its spec, its weights, those permuted, and what align takes beside."""
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    buffer.add_(0.3 * torch.rand_like(buffer))
        shape = (examples, *case.shape[1:])
        x = torch.randint(0, case.tokens, shape) if case.tokens else torch.randn(shape)
    y = torch.zeros(shape if case.tokens else examples, dtype=torch.int64)
    spec = find_symmetries(model, case.inputs())
    a = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    draws = (spec.apply(a, spec.random(seed)) for seed in range(1, 9))
    b = next(draw for draw in draws if not same(a, draw))  # two units alone stay half of the time
    return model, spec, a, b, {"data": (x, y), "module": model}


def same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 0.0) -> bool:
    """Say whether two state dicts are equal."""
    return all(torch.allclose(one[key], other[key], rtol=0, atol=tolerance) for key in one)
