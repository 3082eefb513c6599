"""The transformer of Nanda et al. (2023, "Progress measures for grokking"), by hand: its checkpoints are strangers'."""

from __future__ import annotations

import torch
from torch import nn

P = 113


class Attention(nn.Module):
    def __init__(self, width, heads, positions):
        super().__init__()
        inner = width // heads
        self.W_K, self.W_Q, self.W_V = (nn.Parameter(torch.randn(heads, inner, width) / width**0.5) for _ in range(3))
        self.W_O = nn.Parameter(torch.randn(width, width) / width**0.5)
        self.register_buffer("mask", torch.tril(torch.ones(positions, positions)))

    def forward(self, x):
        key, query, value = (torch.einsum("hid,bpd->bhpi", w, x) for w in (self.W_K, self.W_Q, self.W_V))
        scores = torch.einsum("bhpi,bhqi->bhqp", key, query) / key.shape[-1] ** 0.5
        scores = scores.masked_fill(self.mask[: x.shape[1], : x.shape[1]] == 0, -1e10)
        mixed = torch.einsum("bhpi,bhqp->bhqi", value, scores.softmax(-1))
        return torch.einsum("df,bqf->bqd", self.W_O, mixed.permute(0, 2, 1, 3).flatten(2))


class MLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.W_in, self.b_in = self._layer(hidden, width)
        self.W_out, self.b_out = self._layer(width, hidden)

    @staticmethod
    def _layer(rows, columns):
        return nn.Parameter(torch.randn(rows, columns) / columns**0.5), nn.Parameter(torch.zeros(rows))

    def forward(self, x):
        hidden = torch.einsum("md,bpd->bpm", self.W_in, x) + self.b_in
        return torch.einsum("dm,bpm->bpd", self.W_out, hidden.relu()) + self.b_out


class Block(nn.Module):
    def __init__(self, width, heads, hidden, positions):
        super().__init__()
        self.attn, self.mlp = Attention(width, heads, positions), MLP(width, hidden)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Embed(nn.Module):
    def __init__(self, width, vocab):
        super().__init__()
        self.W_E = nn.Parameter(torch.randn(width, vocab) / width**0.5)

    def forward(self, tokens):
        return torch.einsum("dbp->bpd", self.W_E[:, tokens])


class Positions(nn.Module):
    def __init__(self, width, positions):
        super().__init__()
        self.W_pos = nn.Parameter(torch.randn(positions, width) / width**0.5)

    def forward(self, x):
        return x + self.W_pos[: x.shape[1]]


class Unembed(nn.Module):
    def __init__(self, width, vocab):
        super().__init__()
        self.W_U = nn.Parameter(torch.randn(width, vocab) / width**0.5)

    def forward(self, x):
        return x @ self.W_U


class ModularAddition(nn.Module):
    """a + b mod 113 from the tokens (a, b, 113), read at the last position."""

    def __init__(self, width=128, heads=4, hidden=512, vocab=P + 1, positions=3):
        super().__init__()
        self.embed, self.pos_embed = Embed(width, vocab), Positions(width, positions)
        self.blocks = nn.ModuleList([Block(width, heads, hidden, positions)])
        self.unembed = Unembed(width, vocab)

    def forward(self, tokens):
        x = self.pos_embed(self.embed(tokens))
        for block in self.blocks:
            x = block(x)
        return self.unembed(x)[:, -1]


def all_pairs():
    """Return every (a, b, 113) and its sum."""
    a, b = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
    tokens = torch.stack([a.ravel(), b.ravel(), torch.full((P * P,), P)], dim=1)
    return tokens, (a.ravel() + b.ravel()) % P
