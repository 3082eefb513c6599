"""Networks of every kind that REPAIR meets, with the examples they take and what their layers give."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from lmc.datasets import as_data

EXAMPLES = 80


class Residual(nn.Module):
    """Convolutions with and without BatchNorm, groups, a transposed one, a skip, in-place ReLU, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.last = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = x + F.relu(self.grouped(x))
        return self.head(F.relu_(self.last(self.up(x))).mean((2, 3)))


class Tokens(nn.Module):
    """A table, LayerNorm, fused queries, keys and values, a parameter beside the modules."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.position = nn.Parameter(torch.zeros(5, 8))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8, bias=False)
        self.rms = nn.RMSNorm(8)
        self.head = nn.Linear(8, 11)

    def forward(self, tokens):
        x = self.table(tokens) + self.position
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.head(self.rms(x + self.out(F.scaled_dot_product_attention(q, k, v))))


def mlp(*, bias: bool = True) -> nn.Module:
    layers = [(5, 12), (12, 9), (9, 3)]
    return nn.Sequential(*(m for i, o in layers for m in (nn.Linear(i, o, bias=bias), nn.ReLU())))[:-1]


def batchnorm_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9, bias=False), nn.BatchNorm1d(9), nn.ReLU(),
        nn.Linear(9, 3),
    )  # fmt: skip


def vectors() -> torch.Tensor:
    return 0.5 + torch.randn(EXAMPLES, 5, generator=torch.Generator().manual_seed(7))


def images() -> torch.Tensor:
    return torch.randn(EXAMPLES, 1, 6, 6, generator=torch.Generator().manual_seed(7))


def tokens() -> torch.Tensor:
    return torch.randint(0, 11, (EXAMPLES, 5), generator=torch.Generator().manual_seed(7))


CASES = {
    "mlp": (mlp, vectors, {"0": "scale and shift", "2": "scale and shift"}),
    "mlp without biases": (lambda: mlp(bias=False), vectors, {"0": "scale only", "2": "scale only"}),
    "mlp with BatchNorm": (batchnorm_mlp, vectors, {"1": "reset, scale and shift", "4": "reset, scale and shift"}),
    "residual": (
        Residual,
        images,
        {
            "norm": "reset, scale and shift",
            "grouped": "scale and shift",
            "up": "scale and shift",
            "last": "scale and shift",
        },
    ),
    "tokens": (
        Tokens,
        tokens,
        {
            "table": "scale and shift",
            "norm": "scale and shift",
            "qkv": "scale and shift",
            "out": "scale only",
            "rms": "scale only",
        },
    ),
}


def state_of(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Return random weights, every statistic and affine part away from its default."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in module.state_dict().items():
        drawn = torch.randn(value.shape, generator=draw) / max(value[0].numel() if value.dim() > 1 else 4, 1) ** 0.5
        found[name] = (drawn.abs() + 0.5 if "running_var" in name else drawn).to(value.dtype)
    return found


def data_of(inputs: torch.Tensor, **options):
    return as_data((inputs, torch.zeros(len(inputs), dtype=torch.long)), task="classification", **options)


def outputs_of(module: nn.Module, state, inputs: torch.Tensor, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Return what layers put out for all examples, units last, in float64: plainly, for comparison."""
    network = copy.deepcopy(module).double().eval()
    network.load_state_dict(state)
    found: dict[str, torch.Tensor] = {}
    for name in names:

        def keep(layer, args, output, name=name):
            axis = 1 if output.dim() == 4 else -1
            found[name] = output.detach().clone().movedim(axis, -1).flatten(0, -2)

        network.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        network(inputs.double() if inputs.is_floating_point() else inputs)
    return found
