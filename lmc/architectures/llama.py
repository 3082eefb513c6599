"""Llama with the key names of Meta's release and llama2.c (tok_embeddings, layers.0.attention.wq, ..., output)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import ArchitectureError, UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, shapes_of

_EPS = 1e-5
_THETA = 10000.0


class Llama(AbstractNetwork):
    """Causal transformer: RMSNorm before each part, rotary positions, SwiGLU, key heads that queries may share.

    Parameters
    ----------
    vocab, block : int
        Tokens, and the length of the windows; rotary positions leave no trace of it, so that any length is taken.
    dim, depth, heads, hidden : int
        Width of the residual stream, blocks, heads of queries, units of each block's feed-forward part.
    sharing : int
        Heads of queries to one head of keys and values: 1 is plain attention.
    tied : bool
        Whether the head is the token embedding.

    References
    ----------
    .. [1] Touvron et al. LLaMA: Open and Efficient Foundation Language Models. 2023.
    .. [2] Ainslie et al. GQA: Training Generalized Multi-Query Transformer Models. EMNLP 2023.
    """

    name = "llama"
    assumed = (
        "4 heads assumed unless --model 'llama?heads=...' says otherwise",
        "rotary positions of interleaved pairs with base 10000, RMSNorm with 1e-5 and SiLU assumed",
    )
    input_kind = "tokens"

    def __init__(
        self,
        *,
        vocab: int = 65,
        block: int = 64,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        sharing: int = 1,
        hidden: int = 192,
        tied: bool = True,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % (2 * heads):
            raise UsageError(f"llama: heads={heads} must divide dim={dim} into even parts, as rotary positions need.")
        if sharing < 1 or heads % sharing:
            raise UsageError(f"llama: sharing={sharing} must divide heads={heads}.")
        self.options = {"vocab": vocab, "block": block, "dim": dim, "depth": depth, "heads": heads}
        self.options |= {"sharing": sharing, "hidden": hidden, "tied": tied}
        self.input_shape = (block,)
        self.tok_embeddings = nn.Embedding(vocab, dim)
        self.layers = nn.Sequential(*(_Block(dim, heads, sharing, hidden) for _ in range(depth)))
        self.norm = nn.RMSNorm(dim, eps=_EPS)
        self.output = nn.Linear(dim, vocab, bias=False)
        for table in (self.tok_embeddings, self.output):
            # The default of N(0, 1) gives a tied head logits of standard deviation sqrt(dim).
            nn.init.normal_(table.weight, std=0.02)
        if tied:
            self.output.weight = self.tok_embeddings.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (batch, length) to logits (batch, length, vocab)."""
        return self.output(self.norm(self.layers(self.tok_embeddings(tokens))))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read every size but the number of heads, which leaves no trace in the weights."""
        shapes = shapes_of(state)
        tokens = shapes.get("tok_embeddings.weight", ())
        keys = ("attention.wq", "attention.wk", "feed_forward.w1")
        queries, keys, hidden = (shapes.get(f"layers.0.{key}.weight", ()) for key in keys)
        if any(len(shape) != 2 for shape in (tokens, queries, keys, hidden)) or not keys[0] or queries[0] % keys[0]:
            return None
        head = state.get("output.weight")
        found = {
            "vocab": tokens[0],
            "dim": tokens[1],
            "depth": next(i for i in range(len(state) + 1) if f"layers.{i}.attention.wq.weight" not in state),
            "sharing": queries[0] // keys[0],
            "hidden": hidden[0],
            "tied": head is None or torch.equal(head, state["tok_embeddings.weight"]),
        }
        return found | ({"block": input_shape[0]} if input_shape and len(input_shape) == 1 else {})

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the dataset's alphabet and window."""
        if len(input_shape) != 1:
            raise ArchitectureError(
                f"llama reads token windows (length,); this dataset has examples of shape {input_shape}."
            )
        return {"vocab": num_classes, "block": input_shape[0]}

    def describe(self) -> str:
        """Return ``llama 64 wide, 2 blocks, 8 heads (4 of keys), vocabulary 65``."""
        o = self.options
        shared = f" ({o['heads'] // o['sharing']} of keys)" if o["sharing"] > 1 else ""
        tied = ", tied head" if o["tied"] else ""
        return f"llama {o['dim']} wide, {o['depth']} blocks, {o['heads']} heads{shared}, vocabulary {o['vocab']}{tied}"

    def takes(self, shape: Shape) -> bool:
        """Any window."""
        return len(shape) == 1


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, sharing: int) -> None:
        super().__init__()
        self.size = dim // heads
        self.sharing = sharing
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, dim // sharing, bias=False)
        self.wv = nn.Linear(dim, dim // sharing, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for layer in (self.wq, self.wk, self.wv))
        q, k = _rotate(q), _rotate(k)
        k, v = (part.repeat_interleave(self.sharing, dim=1) for part in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(mixed.transpose(1, 2).flatten(2))


class _Feedforward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, sharing: int, hidden: int) -> None:
        super().__init__()
        self.attention = _Attention(dim, heads, sharing)
        self.feed_forward = _Feedforward(dim, hidden)
        self.attention_norm = nn.RMSNorm(dim, eps=_EPS)
        self.ffn_norm = nn.RMSNorm(dim, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


def _rotate(x: Tensor) -> Tensor:
    """Turn each pair of neighbours in (..., length, size) by an angle that grows with the position."""
    size = x.shape[-1]
    # Angles are large numbers at far positions, where half precision would lose them.
    speeds = _THETA ** -(torch.arange(0, size, 2, device=x.device, dtype=torch.float32) / size)
    angles = torch.arange(x.shape[-2], device=x.device, dtype=torch.float32)[:, None] * speeds
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
