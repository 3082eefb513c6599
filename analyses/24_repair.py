"""Resetting BatchNorm and REPAIR against depth: what statistics cost a matched midpoint, and what repair gives back.

Jordan and others (2023): the variance of activations collapses between two networks, more so the deeper. Four MLPs of
width 128 at every depth, with BatchNorm and without, 8,000 images of MNIST; about three minutes on a laptop:

    python analyses/24_repair.py

With BatchNorm its statistics are reset; without, REPAIR sets those of every unit.
"""

from __future__ import annotations

import numpy as np
from common import Claim, Study, flat, mean_over_pairs, network, pairs_of, unflat

import lmc
from lmc.barriers import node_interval

SEEDS = (0, 1, 2, 3)
PAIRS = pairs_of(SEEDS)
DEPTHS = (1, 2, 4, 6, 8)
NORMS = ("batch", "none")
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAINING = {"lr": 0.05, "optimizer": "sgd", "momentum": 0.9, "batch_size": 128, "epochs": 6}
ROWS = {"none": "none", "weights": "weights?restarts=4"}

study = Study(__file__, "How much of the barrier is due to the statistics of activations, and does it grow with depth?")
train, test = study.data(8000, 2000)
statistics = train.limited(1000)


def run(norm: str, depth: int, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    net = network(f"mlp?width=128&depth={depth}&norm={norm}", train, seed)
    return flat({"end": lmc.train(net.module, train, seed=seed, **TRAINING).state})


def barriers(norm: str, depth: int) -> dict[str, np.ndarray]:
    """Measure all pairs, before and after the repair: (pair, row, stage); the spread of units (pair, row, stage)."""
    net = network(f"mlp?width=128&depth={depth}&norm={norm}", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    states = [unflat(study.part(run, norm=norm, depth=depth, seed=seed), "end") for seed in SEEDS]
    made: dict[str, list] = {"loss": [], "error": [], "spread": []}
    for a, b in PAIRS:
        paths = {
            row: lmc.LinearPath(states[a], lmc.align(states[a], states[b], spec, method=method).apply(states[b]))
            for row, method in ROWS.items()
        }
        options = {"t": POSITIONS, "resamples": 20}
        before = lmc.measure_barrier(net.module, paths, test, **options)
        repaired = lmc.measure_barrier(net.module, paths, test, repair=statistics, **options)
        after = repaired
        if norm == "batch":
            after = lmc.measure_barrier(net.module, paths, test, recalibrate=statistics, **options)
        for kind in ("loss", "error"):
            both = [found[f"{kind}_barrier"].sel(baseline="chord").values for found in (before, after)]
            made[kind].append(np.stack(both, -1))
        made["spread"].append(repaired.unit_std.isel(layer=-1).transpose("alignment", "stage").values)
    return {key: np.array(value) for key, value in made.items()}


found = {norm: [study.part(barriers, norm=norm, depth=depth) for depth in DEPTHS] for norm in NORMS}
stacked = {
    kind: np.stack([np.stack([one[kind] for one in found[norm]], 1) for norm in NORMS], 1)
    for kind in ("loss", "error", "spread")
}  # pair, norm, depth, alignment, stage
centred = np.array(DEPTHS, dtype=float) - np.mean(DEPTHS)


def slope(sample: np.ndarray, weights: np.ndarray) -> float:
    """Return the slope of the weighted mean of (pair, depth) against depth."""
    return float(centred @ (weights @ sample) / (centred @ centred))


even = np.full(len(PAIRS), 1 / len(PAIRS))
claims = []
for place, norm in enumerate(NORMS):
    how = "a reset of BatchNorm" if norm == "batch" else "REPAIR"
    error = stacked["error"][:, place, :, 1]  # matched: pair, depth, stage
    value, interval = mean_over_pairs((error[..., 0] - error[..., 1]).mean(1), PAIRS)
    ends = error.mean(0)
    claims.append(
        Claim(
            f"matched, norm {norm}: error barrier that {how} takes away, mean over depths "
            f"(depth {DEPTHS[-1]}: {ends[-1, 0]:.3f} to {ends[-1, 1]:.3f})",
            value,
            interval,
            "1",
            "most of it at depth 20 (REPAIR: ResNet-20 13.2% to 96.0% accuracy)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
    for stage, name in enumerate(("before", "after")):
        sample = error[..., stage]
        interval = node_interval(sample, PAIRS, statistic=slope)
        claims.append(
            Claim(
                f"matched, norm {norm}: slope of the error barrier against depth, {name} {how}",
                slope(sample, even),
                interval,
                "per layer",
                "grows with depth before, hardly after (REPAIR)",
                interval[0] > 0 if name == "before" else abs(slope(sample, even)) < abs(slope(error[..., 0], even)) / 2,
                interval[1] < 0 if name == "before" else interval[0] > slope(error[..., 0], even),
            )
        )
    spread = stacked["spread"][:, place, :, 1, 0]
    interval = node_interval(spread, PAIRS, statistic=slope)
    claims.append(
        Claim(
            f"matched, norm {norm}: spread of the last layer's units at the midpoint, relative to the ends "
            f"({spread.mean(0)[0]:.2f} at depth {DEPTHS[0]}, {spread.mean(0)[-1]:.2f} at {DEPTHS[-1]}): slope",
            slope(spread, even),
            interval,
            "per layer",
            "variance collapses, more with depth (REPAIR)",
            interval[1] < 0,
            interval[0] > 0,
        )
    )
dims = ("pair", "norm", "depth", "alignment", "stage")
study.write(
    {
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "norm": ("norm", list(NORMS)),
        "depth": ("depth", DEPTHS),
        "alignment": ("alignment", list(ROWS)),
        "stage": ("stage", ["before", "after"]),
        "loss_barrier": (dims, stacked["loss"], "test loss barrier against the chord", "nats"),
        "error_barrier": (dims, stacked["error"], "test error barrier against the chord", "1"),
        "spread": (dims, stacked["spread"], "spread of the last hidden layer's units, relative to the ends", "1"),
    },
    claims,
    seeds=SEEDS,
    training=TRAINING,
    positions=POSITIONS,
)
