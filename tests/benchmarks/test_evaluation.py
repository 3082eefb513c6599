"""Evaluating a path, beside the plain loop and the floor: products over the measured matrix rate, in one run.

``make bench ARGS="-k evaluation"`` prints the table. The loop is what a reader would write: load each position's
weights, run batches of 128 held in memory, add up losses and hits.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmc.architectures import resolve
from lmc.datasets import as_data
from lmc.evaluation import evaluate_path
from lmc.evaluation.products import by_convolution, by_product
from lmc.interpolation import LinearPath

POINTS = np.linspace(0, 1, 25)


def mlp(width: int) -> nn.Module:
    hidden = [layer for _ in range(2) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(784, width), nn.ReLU(), *hidden, nn.Linear(width, 10))


def resnet20() -> nn.Module:
    return resolve("resnet20", input_shape=(3, 32, 32), num_classes=10).module


def plain_loop(module: nn.Module, path: LinearPath, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    network, losses = copy.deepcopy(module).eval(), []
    with torch.no_grad():
        for t in POINTS:
            network.load_state_dict(path.at(t))
            total, hits = 0.0, 0
            for start in range(0, len(x), 128):
                outputs, targets = network(x[start : start + 128]), y[start : start + 128]
                total += F.cross_entropy(outputs, targets, reduction="sum").item()
                hits += (outputs.argmax(1) == targets).sum().item()
            losses.append(total / len(x))
    return losses


def multiplications(module: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """Return the multiplications of one example: of the first linear map, and of all others."""
    counts = []

    def count(layer: Any, inputs: Any, output: Any) -> None:
        counts.append(output[0].numel() * layer.weight[0].numel())

    network = copy.deepcopy(module)
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.register_forward_hook(count)
    network(x[:1])
    return counts[0], sum(counts[1:])


def rate() -> float:
    """Return the multiplications a second of the best float32 product here."""
    x, w = torch.randn(1024, 512), torch.randn(512, 512)
    with torch.inference_mode():
        best = min(seconds(lambda f=f: [f(x, w) for _ in range(20)]) for f in (by_product, by_convolution))
    return 20 * 1024 * 512 * 512 / best


def seconds(run: Callable[[], Any], times: int = 3) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


@pytest.mark.parametrize(
    ("name", "make", "shape", "count"),
    [
        ("mlp 784-512-512-512-10", lambda: mlp(512), (784,), 10_000),
        ("mlp 784-64-64-64-10", lambda: mlp(64), (784,), 10_000),
        ("resnet20", resnet20, (3, 32, 32), 256),
    ],
)
def test_a_path_of_25_points(name, make, shape, count) -> None:
    torch.manual_seed(0)
    module, path = make(), LinearPath(make().state_dict(), make().state_dict())
    x, y = torch.randn(count, *shape), torch.randint(0, 10, (count,))
    data = as_data((x, y))
    evaluation = evaluate_path(module, path, POINTS, data)
    np.testing.assert_allclose(evaluation.loss, plain_loop(module, path, x, y), rtol=1e-5)
    loop, ours, best = [], [], []
    for _ in range(3):  # in turn, so that what else the machine does meets all three
        best.append(rate())
        loop.append(seconds(lambda: plain_loop(module, path, x, y), 1))
        ours.append(seconds(lambda: evaluate_path(module, path, POINTS, data), 1))
    first, others = multiplications(module, x)
    shared = "ends" in evaluation.how or "at once" in evaluation.how
    floor = count * (first * (2 if shared else len(POINTS)) + others * len(POINTS)) / max(best)
    print(
        f"\n{name}, {count:,} examples: loop {min(loop):.2f} s, ours {min(ours):.2f} s ({evaluation.how}), "
        f"{min(loop) / min(ours):.1f} times as fast; floor {floor:.2f} s at {2 * max(best) / 1e9:.0f} GFLOP/s, "
        f"ours is {min(ours) / floor:.2f} times it"
    )
