"""A small GPT with the key names of nanoGPT (transformer.wte, transformer.h.0.attn.c_attn, ..., lm_head)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import ArchitectureError, UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, shapes_of


class GPT(AbstractNetwork):
    """Causal transformer, pre-norm, learned positions, GELU.

    Parameters
    ----------
    vocab, block : int
        Tokens, and the longest sequence.
    dim, depth, heads : int
        Width of the residual stream, blocks, attention heads.
    bias : bool
        Whether linear layers and LayerNorms have biases.
    tied : bool
        Whether the head is the token embedding.

    References
    ----------
    .. [1] Radford et al. Language Models are Unsupervised Multitask Learners. 2019.
    """

    name = "gpt"
    assumed = ("4 heads assumed unless --model 'gpt?heads=...' says otherwise",)
    input_kind = "tokens"

    def __init__(
        self,
        *,
        vocab: int = 65,
        block: int = 64,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        bias: bool = True,
        tied: bool = True,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UsageError(f"gpt: heads={heads} must divide dim={dim}.")
        self.options = {"vocab": vocab, "block": block, "dim": dim, "depth": depth, "heads": heads}
        self.options |= {"bias": bias, "tied": tied}
        self.input_shape = (block,)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, dim),
                "wpe": nn.Embedding(block, dim),
                "h": nn.Sequential(*(_Block(dim, heads, bias) for _ in range(depth))),
                "ln_f": nn.LayerNorm(dim, bias=bias),
            }
        )
        self.lm_head = nn.Linear(dim, vocab, bias=False)
        for table in (self.transformer["wte"], self.transformer["wpe"], self.lm_head):
            # The default of N(0, 1) gives a tied head logits of standard deviation sqrt(dim).
            nn.init.normal_(table.weight, std=0.02)  # type: ignore[arg-type]
        if tied:
            self.lm_head.weight = self.transformer["wte"].weight  # type: ignore[assignment]

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (batch, length), length at most ``block``, to logits (batch, length, vocab)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.transformer["wte"](tokens) + self.transformer["wpe"](positions)
        return self.lm_head(self.transformer["ln_f"](self.transformer["h"](x)))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read every size but the number of heads, which leaves no trace in the weights."""
        shapes = shapes_of(state)
        tokens, positions = (shapes.get(f"transformer.{key}.weight", ()) for key in ("wte", "wpe"))
        if (len(tokens), len(positions)) != (2, 2):
            return None
        head = state.get("lm_head.weight")
        return {
            "vocab": tokens[0],
            "block": positions[0],
            "dim": tokens[1],
            "depth": next(i for i in range(len(state) + 1) if f"transformer.h.{i}.attn.c_attn.weight" not in state),
            "bias": "transformer.h.0.attn.c_attn.bias" in state,
            "tied": head is None or torch.equal(head, state["transformer.wte.weight"]),
        }

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the dataset's alphabet and window."""
        if len(input_shape) != 1:
            raise ArchitectureError(
                f"gpt reads token windows (length,); this dataset has examples of shape {input_shape}."
            )
        return {"vocab": num_classes, "block": input_shape[0]}

    def describe(self) -> str:
        """Return ``gpt 64 wide, 2 blocks, 4 heads, vocabulary 65``."""
        o = self.options
        tied = ", tied head" if o["tied"] else ""
        return f"gpt {o['dim']} wide, {o['depth']} blocks, {o['heads']} heads, vocabulary {o['vocab']}{tied}"

    def takes(self, shape: Shape) -> bool:
        """Any window up to ``block``."""
        return len(shape) == 1 and shape[0] <= self.options["block"]


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(dim, 3 * dim, bias=bias)
        self.c_proj = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).split(x.shape[-1], dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class _Feedforward(nn.Module):
    def __init__(self, dim: int, bias: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim, bias=bias)
        self.c_proj = nn.Linear(4 * dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, bias=bias)
        self.attn = _Attention(dim, heads, bias)
        self.ln_2 = nn.LayerNorm(dim, bias=bias)
        self.mlp = _Feedforward(dim, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))
