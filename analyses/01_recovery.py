"""How much noise a planted permutation survives: weight matching and Frank-Wolfe on a small network of each family.

Writes docs/recovery.md. A few minutes on a laptop:

    python analyses/01_recovery.py

B is a copy of A (random weights) with Gaussian noise added to every parameter, its units permuted; the columns are the
noise's standard deviation relative to the tensor's own. A cell is the share of units that are put back where they came
from, the mean over the seeds.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lmc
from lmc.testing import planted_pair

DOCS = Path(__file__).parents[1] / "docs"
NOISES = (0.0, 0.5, 1.0, 2.0)
SEEDS = (0, 1)
METHODS = ("weights", "frank-wolfe?restarts=1")


class DenseNet(nn.Module):
    """Every layer reads all that came before it, concatenated."""

    def __init__(self, layers: int = 4, growth: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, growth, 3, padding=1)
        widths = [growth * (layer + 1) for layer in range(layers)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.layers = nn.ModuleList(nn.Conv2d(width, growth, 3, padding=1) for width in widths)
        self.head = nn.Linear(growth * (layers + 1), 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify a batch of images, shape (batch, 3, height, width)."""
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(torch.relu(norm(x)))], 1)
        return self.head(x.mean((2, 3)))


NETWORKS = {
    "MLP 784-128-128-10": "mlp?width=128&depth=2",
    "VGG, channels 16 to 64": "vgg?plan=16,0,32,0,64,64,0&size=32&hidden=64,",
    "ResNet-20": "resnet20",
    "DenseNet, 4 layers of 12": DenseNet,
    "ViT, 2 blocks of 64": "vit?dim=64&depth=2&heads=4&hidden=128",
    "GPT, 2 blocks of 64": "gpt?dim=64&depth=2&heads=4",
    "Llama, 2 blocks of 64, shared keys": "llama?dim=64&depth=2&heads=4&hidden=128&sharing=2",
    "LSTM, 2 layers of 64": "lstm?hidden=64&layers=2",
}


def network(named: str | type[nn.Module]) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Return a network with random weights in eval mode, and inputs to trace it with."""
    if isinstance(named, str):
        architecture = lmc.resolve(named, seed=0)
        return architecture.module.eval(), architecture.example_inputs(seed=0)
    torch.manual_seed(0)
    return named().eval(), (torch.randn(2, 3, 16, 16),)


# 1. Plant, align, count.
rows = []
for name, named in NETWORKS.items():
    model, inputs = network(named)
    spec = lmc.find_symmetries(model, inputs)
    state = model.state_dict()
    for method in METHODS:
        shares, seconds = np.zeros((len(NOISES), len(SEEDS))), 0.0
        for i, noise in enumerate(NOISES):
            for j, seed in enumerate(SEEDS):
                b, answer = planted_pair(state, spec, noise=noise, seed=seed)
                start = time.perf_counter()
                found = lmc.align(state, b, spec, method=method).permutation
                seconds += time.perf_counter() - start
                shares[i, j] = sum(int((found[key] == perm).sum()) for key, perm in answer.items()) / spec.units
        cells = [f"{100 * share:.1f}" for share in shares.mean(axis=1)]
        rows.append([name, f"{spec.units:,}", method.partition("?")[0], *cells, f"{seconds / shares.size:.1f}"])
        print(*rows[-1], flush=True)

# 2. The page.
head = ["network", "units", "method", *(f"noise {noise:g}" for noise in NOISES), "seconds"]
table = "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])
(DOCS / "recovery.md").write_text(
    f"""# Recovery of planted permutations

Percent of units found again, where B is A with its units permuted and noise on every parameter; noise is relative to
each tensor's own standard deviation. Random weights, mean of {len(SEEDS)} seeds; `weights` with its 8 restarts,
`frank-wolfe` from one start; seconds for one alignment on one thread. Written by `analyses/01_recovery.py`.

{table}

In both, what is inside an attention head is counted at its place in the aligned head: a head that is mistaken for
another takes all that lies inside with it.
"""
)
