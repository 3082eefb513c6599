"""Networks that other people trained and no registry knows, written from their names, shapes and papers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, length, width = x.shape
        split = (batch, length, self.heads, width // self.heads)
        q, k, v = (part.view(split).transpose(1, 2) for part in self.c_attn(x).split(width, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class GatedMLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.w1, self.w3 = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.attn, self.ffd = Attention(width, heads), GatedMLP(width, hidden)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.ffd(self.ln_2(x))


class SmallGPT(nn.Module):
    """andrew-noble/small-gpt: nanoGPT with SwiGLU, and one tensor for the embedding and the head."""

    def __init__(self, vocab=4096, positions=64, width=64, layers=2, heads=2, hidden=170):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, width),
                "h": nn.ModuleList(Block(width, heads, hidden) for _ in range(layers)),
                "ln_f": nn.LayerNorm(width, bias=False),
                "wpe": nn.Embedding(positions, width),
            }
        )
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.transformer["wte"](tokens) + self.transformer["wpe"](positions)
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


class Extractor(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.policy_net, self.value_net = (
            nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()) for _ in range(2)
        )

    def forward(self, x):
        return self.policy_net(x), self.value_net(x)


class ActorCritic(nn.Module):
    """The MlpPolicy of Stable-Baselines3 for CartPole: logits of two actions, and the value of the state."""

    def __init__(self, inputs=4, width=64, actions=2):
        super().__init__()
        self.mlp_extractor = Extractor(inputs, width)
        self.action_net, self.value_net = nn.Linear(width, actions), nn.Linear(width, 1)

    def forward(self, x):
        policy, value = self.mlp_extractor(x)
        return torch.cat([self.action_net(policy), self.value_net(value)], dim=1)


def bends(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the networks at the bends of a curve, whose parameters are stored as ``NAME_k`` for bend k."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"net\.(.+)_(\d+)", name):
            found.setdefault(int(match[2]), {})[match[1]] = tensor
    return [found[k] for k in sorted(found)]
