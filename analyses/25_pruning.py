"""Iterative magnitude pruning: does one permutation serve the whole sequence, and do masks transfer through it.

Sharma and others (2024); Frankle and Carbin (2019). Three MLPs 784-256-256-10 on 8,000 images of MNIST, half of the
weights pruned at every level and the rest rewound to their initial values; about four minutes on a laptop:

    python analyses/25_pruning.py

The permutation is found between the dense networks, by weight matching, and applied at every level.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Claim, Study, flat, mean_over_pairs, network, pairs_of, unflat
from torch import Tensor, nn
from torch.nn import functional

import lmc

SEEDS = (0, 1, 2)
PAIRS = pairs_of(SEEDS)
LEVELS = 5
POSITIONS = (0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)
TRAINING = {"lr": 0.05, "optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "epochs": 5}
ROWS = ("none", "weights", "dense")
TICKETS = ("own", "permuted", "unpermuted", "random")

study = Study(__file__, "Does the dense networks' permutation serve their pruned descendants, and their masks?")
train, test = study.data(8000, 2000)


class Masked(nn.Module):
    """A chain of linear layers whose weights are multiplied by masks that do not train."""

    def __init__(self, state: dict[str, Tensor], masks: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for name in ("fc1", "fc2", "fc3"):
            weight = state[f"{name}.weight"]
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": state[f"{name}.bias"]})
            layer.register_buffer("mask", masks[f"{name}.weight"].float())
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to logits."""
        x = x.flatten(1)
        for place, layer in enumerate(self.layers):
            x = functional.linear(x, layer.weight * layer.mask, layer.bias)
            x = x if place == len(self.layers) - 1 else x.relu()
        return x


def trained(state: dict[str, Tensor], masks: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the weights, zero where they are masked, after training from a state."""
    found = lmc.train(Masked(state, masks), train, seed=seed, **TRAINING).state
    ends = {}
    for place, name in enumerate(("fc1", "fc2", "fc3")):
        ends[f"{name}.weight"] = found[f"layers.{place}.weight"] * found[f"layers.{place}.mask"]
        ends[f"{name}.bias"] = found[f"layers.{place}.bias"]
    return ends


def pruned(state: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return masks that keep the larger half, layer by layer, of what is left; the last layer stays dense."""
    kept = dict(masks)
    for name in ("fc1.weight", "fc2.weight"):
        sizes = state[name].abs()[masks[name] > 0]
        kept[name] = masks[name] * (state[name].abs() > sizes.median())
    return kept


def sequence(seed: int) -> dict[str, np.ndarray]:
    """Prune a network level by level: its weights at every level, masked, and its initial ones."""
    initial = network("mlp?width=256&depth=2", train, seed).module.state_dict()
    masks = {name: torch.ones_like(tensor) for name, tensor in initial.items() if tensor.ndim == 2}
    states = {"initial": initial}
    for level in range(LEVELS):
        states[level] = trained(initial, masks, seed)
        masks = pruned(states[level], masks)
    return flat(states)


def along(a: int, b: int) -> dict[str, np.ndarray]:
    """Measure a pair at every level: barriers (level, row), of loss and error."""
    net = network("mlp?width=256&depth=2", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    runs = [study.part(sequence, seed=seed) for seed in (a, b)]
    dense, made = None, []
    for level in range(LEVELS):
        one, other = (unflat(arrays, level) for arrays in runs)
        now = lmc.align(one, other, spec, method="weights?restarts=4&scale=plain").permutation
        dense = now if dense is None else dense
        ends = (other, spec.apply(other, now), spec.apply(other, dense))
        paths = {row: lmc.LinearPath(one, end) for row, end in zip(ROWS, ends, strict=True)}
        found = lmc.measure_barrier(net.module, paths, test, t=POSITIONS, resamples=20)
        made.append([found[f"{kind}_barrier"].sel(baseline="chord").values for kind in ("loss", "error")])
    return {"barrier": np.array(made).transpose(0, 2, 1)}


def tickets(a: int, b: int) -> dict[str, np.ndarray]:
    """Train A from its initial weights with masks of its own, of B's moved by the permutation, and others: accuracy."""
    net = network("mlp?width=256&depth=2", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    own, other = (study.part(sequence, seed=seed) for seed in (a, b))
    initial = unflat(own, "initial")
    dense = lmc.align(unflat(own, 0), unflat(other, 0), spec, method="weights?restarts=4&scale=plain").permutation
    last = [{k: (x != 0).float() for k, x in unflat(run, LEVELS - 1).items()} for run in (own, other)]
    draw = torch.Generator().manual_seed(a * 10 + b)
    shuffled = {k: x.flatten()[torch.randperm(x.numel(), generator=draw)].view_as(x) for k, x in last[0].items()}
    made = []
    for masks in (last[0], spec.apply(last[1], dense), last[1], shuffled):
        end = trained(initial, masks, seed=a)
        found = lmc.measure_barrier(net.module, lmc.LinearPath(end, end), test, t=[0, 0.5, 1], resamples=20)
        made.append(float(found.accuracy[0, 0]))
    return {"accuracy": np.array(made)}


barrier = np.stack([study.part(along, a=a, b=b)["barrier"] for a, b in PAIRS])  # pair, level, alignment, metric
accuracy = np.stack([study.part(tickets, a=a, b=b)["accuracy"] for a, b in PAIRS])  # pair, ticket
density = 0.5 ** np.arange(LEVELS)
claims = []
for level in range(1, LEVELS):
    loss = barrier[:, level, :, 0]
    value, interval = mean_over_pairs(loss[:, 0] - loss[:, 2], PAIRS)
    claims.append(
        Claim(
            f"{100 * density[level]:.2g}% of the weights left: loss barrier that the dense networks' permutation "
            f"takes away (none {loss[:, 0].mean():.3f}, dense {loss[:, 2].mean():.3f}, "
            f"matched again {loss[:, 1].mean():.3f})",
            value,
            interval,
            "nats",
            "one permutation serves the whole sequence (Sharma)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
means = accuracy.mean(0)
for name, other in (("permuted", "random"), ("permuted", "unpermuted")):
    value, interval = mean_over_pairs(accuracy[:, TICKETS.index(name)] - accuracy[:, TICKETS.index(other)], PAIRS)
    claims.append(
        Claim(
            f"B's mask at {100 * density[-1]:.2g}%, permuted, on A's initial weights: accuracy above that of the "
            f"{other} one (" + ", ".join(f"{k} {v:.3f}" for k, v in zip(TICKETS, means, strict=True)) + ")",
            value,
            interval,
            "1",
            "masks transfer through the permutation (Sharma)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
dims = ("pair", "density", "alignment")
study.write(
    {
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "density": ("density", density),
        "alignment": ("alignment", list(ROWS)),
        "ticket": ("ticket", list(TICKETS)),
        "loss_barrier": (dims, barrier[..., 0], "test loss barrier against the chord", "nats"),
        "error_barrier": (dims, barrier[..., 1], "test error barrier against the chord", "1"),
        "accuracy": (("pair", "ticket"), accuracy, "test accuracy of A trained with a mask", "1"),
    },
    claims,
    seeds=SEEDS,
    training=TRAINING,
    positions=POSITIONS,
)
