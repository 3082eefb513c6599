"""Effective dimension of the weights, and the barrier, against the learning rate; a covariance for matching.

Ferbach and others (2024): networks whose neurons lie in few dimensions are connected at smaller widths, and large
learning rates find them. Four MLPs 784-256-256-10 for each learning rate, 8,000 images of MNIST, SGD with momentum;
about five minutes on a laptop:

    python analyses/23_dimension.py

The dimension of a layer is tr(S)^2 / tr(S^2), S the second moment of its rows. The rate is the slope of the log
distance W2 between k neurons of one network and k of another against log k: about -1/dimension.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Claim, Study, flat, network, pairs_of, unflat
from scipy.optimize import linear_sum_assignment

import lmc
from lmc.barriers import node_interval

SEEDS = (0, 1, 2, 3)
PAIRS = pairs_of(SEEDS)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
LAYERS = ("fc1", "fc2")
TRAINING = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "epochs": 12}
ROWS = {
    "none": "none",
    "weights": "weights?restarts=4&scale=plain",
    "covariance": "weights?restarts=4&scale=plain&covariance=true",
}
NEURONS = (8, 16, 32, 64, 128)

study = Study(__file__, "Do effective dimension and barrier fall together as the learning rate grows?")
train, test = study.data(8000, 2000)


def run(lr: float, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    net = network("mlp?width=256&depth=2", train, seed)
    return flat({"end": lmc.train(net.module, train, lr=lr, seed=seed, **TRAINING).state})


def dimension(weight: torch.Tensor) -> float:
    """Return tr(S)^2 / tr(S^2) of the rows' second moment."""
    gram = weight.double() @ weight.double().T
    return float(gram.trace() ** 2 / (gram**2).sum())


def rate(one: torch.Tensor, other: torch.Tensor, seed: int) -> float:
    """Return the slope of log W2 between k rows of each against log k, the mean over draws."""
    draw = np.random.default_rng(seed)
    squared = torch.cdist(one.double(), other.double()).numpy() ** 2
    logs = []
    for k in NEURONS:
        found = []
        for _ in range(16):
            rows, columns = (draw.choice(len(squared), k, replace=False) for _ in range(2))
            part = squared[np.ix_(rows, columns)]
            found.append(part[linear_sum_assignment(part)].mean())
        logs.append(0.5 * np.log(np.mean(found)))
    return float(np.polyfit(np.log(NEURONS), logs, 1)[0])


def at(lr: float) -> dict[str, np.ndarray]:
    """Measure all that belongs to one learning rate: by pair and row, by seed and layer, by pair and layer."""
    net = network("mlp?width=256&depth=2", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    states = [unflat(study.part(run, lr=lr, seed=seed), "end") for seed in SEEDS]
    given = {"data": train, "module": net.module}
    barriers, errors, rates, ends = [], [], [], []
    for a, b in PAIRS:
        paths = {
            row: lmc.LinearPath(
                states[a], lmc.align(states[a], states[b], spec, method=method, **given).apply(states[b])
            )
            for row, method in ROWS.items()
        }
        found = lmc.measure_barrier(net.module, paths, test, points=11, resamples=20)
        barriers.append(found.loss_barrier.sel(baseline="chord").values)
        errors.append(found.error_barrier.sel(baseline="chord").values)
        ends.append(float(found.accuracy[0, [0, -1]].mean()))
        rates.append([rate(*(states[i][f"{layer}.weight"] for i in (a, b)), seed=a + 10 * b) for layer in LAYERS])
    dimensions = [[dimension(state[f"{layer}.weight"]) for layer in LAYERS] for state in states]
    return {
        "barrier": np.array(barriers),
        "error": np.array(errors),
        "rate": np.array(rates),
        "dimension": np.array(dimensions),
        "accuracy": np.array(ends),
    }


found = [study.part(at, lr=lr) for lr in RATES]
barrier = np.stack([one["barrier"] for one in found], 1)  # pair, lr, alignment
error = np.stack([one["error"] for one in found], 1)
rates = np.stack([one["rate"] for one in found], 1)  # pair, lr, layer
dimensions = np.stack([one["dimension"] for one in found], 1)  # seed, lr, layer
in_pairs = np.stack([dimensions[[a, b]].mean(0) for a, b in PAIRS])  # pair, lr, layer
logs = np.log10(RATES)
centred = logs - logs.mean()


def slope(sample: np.ndarray, weights: np.ndarray) -> float:
    """Return the slope of the weighted mean of (pair, lr) against the log of the learning rate."""
    return float(centred @ (weights @ sample) / (centred @ centred))


def together(sample: np.ndarray, weights: np.ndarray) -> float:
    """Return the correlation, over learning rates, of the logs of two mean curves, sample (pair, lr, 2)."""
    curves = np.log(np.maximum(np.tensordot(weights, sample, axes=1), 1e-6))
    return float(np.corrcoef(curves.T)[0, 1])


even = np.full(len(PAIRS), 1 / len(PAIRS))
claims = []
for place, layer in enumerate(LAYERS):
    sample = in_pairs[:, :, place]
    interval = node_interval(sample, PAIRS, statistic=slope)
    ends = dimensions[:, [0, -1], place].mean(0)
    claims.append(
        Claim(
            f"slope of the dimension of {layer} against log10 of the learning rate ({ends[0]:.0f} to {ends[1]:.0f})",
            slope(sample, even),
            interval,
            "per decade",
            "falls from 289 to 42 between 1e-3 and 1e-1 (Ferbach)",
            interval[1] < 0,
            interval[0] > 0,
        )
    )
for place, row in enumerate(ROWS):
    sample = barrier[:, :, place]
    interval = node_interval(sample, PAIRS, statistic=slope)
    ends = sample[:, [0, -1]].mean(0)
    claims.append(
        Claim(
            f"slope of the test loss barrier, {row}, against log10 of the learning rate "
            f"({ends[0]:.3f} to {ends[1]:.3f})",
            slope(sample, even),
            interval,
            "nats per decade",
            "falls with the dimension (Ferbach)",
            interval[1] < 0,
            interval[0] > 0,
        )
    )
sample = np.stack([in_pairs[:, :, 0], barrier[:, :, 1]], -1)
interval = np.clip(node_interval(sample, PAIRS, statistic=together), -1, 1)
claims.append(
    Claim(
        "dimension of fc1 and aligned barrier over learning rates: correlation of their logs",
        together(sample, even),
        interval,
        "1",
        "fall together (Ferbach)",
        interval[0] > 0,
        interval[1] < 0,
    )
)
for place, layer in enumerate(LAYERS):
    sample = rates[:, :, place]
    interval = node_interval(sample, PAIRS, statistic=slope)
    ends = sample[:, [0, -1]].mean(0)
    claims.append(
        Claim(
            f"convergence rate of W2 of {layer} ({ends[0]:.3f} to {ends[1]:.3f}): "
            "slope against log10 of the learning rate",
            slope(sample, even),
            interval,
            "per decade",
            "the fewer dimensions, the faster W2 falls with width (Ferbach)",
            interval[1] < 0,
            interval[0] > 0,
        )
    )
gain = barrier[:, 0, 2] - barrier[:, 0, 1]
interval = node_interval(gain, PAIRS)
claims.append(
    Claim(
        f"learning rate 1e-3: barrier by covariance-weighted matching ({barrier[:, 0, 2].mean():.3f}) "
        f"minus by plain ({barrier[:, 0, 1].mean():.3f})",
        float(gain.mean()),
        interval,
        "nats",
        "0.125 falls to 0.046 (784-512-512-10, Ferbach's weighting)",
        interval[1] < 0,
        interval[0] > 0,
    )
)
dims = ("pair", "lr", "alignment")
study.write(
    {
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "lr": ("lr", RATES),
        "alignment": ("alignment", list(ROWS)),
        "seed": ("seed", SEEDS),
        "layer": ("layer", list(LAYERS)),
        "loss_barrier": (dims, barrier, "test loss barrier against the chord", "nats"),
        "error_barrier": (dims, error, "test error barrier against the chord", "1"),
        "accuracy": (dims[:2], np.stack([one["accuracy"] for one in found], 1), "mean accuracy of the ends", "1"),
        "dimension": (("seed", "lr", "layer"), dimensions, "effective dimension of the layer's rows", "1"),
        "rate": (
            ("pair", "lr", "layer"),
            rates,
            "slope of log W2 between neurons against the log of their number",
            "1",
        ),
    },
    claims,
    seeds=SEEDS,
    training=TRAINING,
    neurons=NEURONS,
    alignments=ROWS,
)
