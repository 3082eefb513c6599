"""A small vision transformer: patches, pre-norm blocks with plain q, k, v, the mean over patches, one linear layer."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, image_options, shapes_of


class ViT(AbstractNetwork):
    """Vision transformer without a class token.

    Parameters
    ----------
    patch : int
        Side of a patch; divides ``size``.
    dim, depth, heads, hidden : int
        Width of the residual stream, blocks, attention heads, units of each block's MLP.
    in_channels, size, classes : int
        Of the images, (in_channels, size, size), and of the output.

    References
    ----------
    .. [1] Dosovitskiy et al. An Image is Worth 16x16 Words. ICLR 2021.
    """

    name = "vit"
    assumed = ("4 heads assumed unless --model 'vit?heads=...' says otherwise",)

    def __init__(
        self,
        *,
        patch: int = 4,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        hidden: int = 128,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if size % patch or dim % heads:
            raise UsageError(f"vit: patch={patch} must divide size={size}, and heads={heads} must divide dim={dim}.")
        self.options = {"patch": patch, "dim": dim, "depth": depth, "heads": heads, "hidden": hidden}
        self.options |= {"in_channels": in_channels, "size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        self.embed = nn.Conv2d(in_channels, dim, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, dim))
        self.blocks = nn.Sequential(*(_Block(dim, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, size, size) to logits (batch, classes)."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read every size but the number of heads, which leaves no trace in the weights."""
        shapes = shapes_of(state)
        keys = ("embed.weight", "position", "blocks.0.mlp.0.weight", "head.weight")
        embed, position, inner, head = (shapes.get(key, ()) for key in keys)
        if (len(embed), len(position), len(inner), len(head)) != (4, 3, 2, 2):
            return None
        return {
            "patch": embed[2],
            "dim": embed[0],
            "depth": next(i for i in range(len(state) + 1) if f"blocks.{i}.q.weight" not in state),
            "hidden": inner[0],
            "in_channels": embed[1],
            "size": embed[2] * math.isqrt(position[1]),
            "classes": head[0],
        }

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take patches of 4, of 2 for small images."""
        options = image_options("vit", input_shape, num_classes)
        return options | {"patch": 2 if options["size"] < 16 else 4}

    def describe(self) -> str:
        """Return ``vit 64 wide, 2 blocks, 4 heads, patch 4``."""
        o = self.options
        return f"vit {o['dim']} wide, {o['depth']} blocks, {o['heads']} heads, patch {o['patch']}"


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        q, k, v = (layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.mlp(self.norm2(x))
