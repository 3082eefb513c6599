"""Random graphs: whatever ops are strung together, what is found leaves the module's function alone."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc.symmetry import find_symmetries, verify

WIDTH = 12

OPS = {
    "linear": lambda net, i, h: net.layers[i](h),
    "relu": lambda net, i, h: torch.relu(h),
    "scale": lambda net, i, h: h * net.vectors[i],
    "layer norm": lambda net, i, h: F.layer_norm(h, (WIDTH,), net.vectors[i]),
    "group norm": lambda net, i, h: F.group_norm(h, 4),
    "softmax": lambda net, i, h: h.unflatten(1, (3, 4)).softmax(-1).flatten(1),
    "norm inside": lambda net, i, h: F.layer_norm(h.unflatten(1, (4, 3)), (3,)).flatten(1),
    "swap halves": lambda net, i, h: torch.cat(h.chunk(2, 1)[::-1], 1),
    "swap thirds": lambda net, i, h: torch.cat([h[:, 8:], h[:, :4], h[:, 4:8]], 1),
    "shuffle": lambda net, i, h: h.unflatten(1, (3, 4)).transpose(1, 2).flatten(1),
    "heads": lambda net, i, h: torch.einsum("bhi,hij->bhj", h.unflatten(1, (3, 4)), net.heads[i]).flatten(1),
    "gram": lambda net, i, h: (h.unflatten(1, (3, 4)) @ h.unflatten(1, (3, 4)).transpose(1, 2) @ net.gram[i]).flatten(
        1
    ),
    "flip": lambda net, i, h: h.flip(1),
    "one out": lambda net, i, h: h + h[:, 2:3],
    "mean": lambda net, i, h: h - h.mean(1, keepdim=True),
    "pad": lambda net, i, h: F.pad(h[:, 2:10], (2, 2)),
    "roll": lambda net, i, h: h.roll(1, 1),
    "expand": lambda net, i, h: h[:, :6].unsqueeze(-1).expand(-1, -1, 2).flatten(1),
    "in place": lambda net, i, h: torch.zeros_like(h).copy_(h).mul_(net.vectors[i]),
    "cumsum": lambda net, i, h: h.unflatten(1, (2, 6)).cumsum(1).flatten(1),
}


class Strung(nn.Module):
    """Ops drawn at random, each on one of the tensors made so far; everything is read out in the end."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        drawn = random.Random(seed)
        self.ops = [(drawn.choice(list(OPS)), drawn.random()) for _ in range(drawn.randint(3, 8))]
        count = len(self.ops)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem, self.head = nn.Linear(5, WIDTH), nn.Linear(WIDTH, 3)
            self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(count))
            self.vectors = nn.ParameterList(torch.randn(WIDTH) for _ in range(count))
            self.heads = nn.ParameterList(torch.randn(3, 4, 4) for _ in range(count))
            self.gram = nn.ParameterList(torch.randn(3, 4) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        made = [self.stem(x)]
        for index, (name, where) in enumerate(self.ops):
            source = made[int(where * len(made))]
            made.append(OPS[name](self, index, source) + (made[-1] if where > 0.7 else 0))
        return self.head(torch.tanh(made[-1])) + self.head(torch.tanh(made[len(made) // 2]))


@pytest.mark.parametrize("seed", range(60))
def test_what_is_found_is_sound_and_proved(seed):
    model = Strung(seed).eval().double()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    spec = find_symmetries(model, x)
    verdict = verify(spec, model, x)
    assert verdict.ok, f"{verdict.message}: {model.ops}"
    for draw in range(3):
        moved = spec.apply(model.state_dict(), spec.random(draw))
        after = torch.func.functional_call(model, moved, (x,))
        assert torch.allclose(after, model(x), rtol=1e-9, atol=1e-9), model.ops
