"""The barrier against width and depth, with and without alignment; and a pair that no permutation connects.

Entezari and others (2022); Ainsworth and others (2023). Four MLPs of every size on 8,000 images of MNIST, SGD with
momentum; about four minutes on a laptop:

    python analyses/20_width_depth.py

The counterexample is that of Git Re-Basin: two networks 2-2-2-1 that solve the same task, all four permutations tried.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import Claim, Study, flat, mean_over_pairs, network, pairs_of, unflat

import lmc
from lmc.barriers import node_interval
from lmc.conjectures import conjecture, every_permutation

SEEDS = (0, 1, 2, 3)
PAIRS = pairs_of(SEEDS)
SOLVING = 16  # from this width on every run reaches a training loss under 0.2
WIDTHS, DEPTHS = (4, 8, 16, 32, 64, 128, 256, 512), (1, 2, 3, 4)
TRAINING = {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9, "batch_size": 128, "epochs": 10}
ROWS = ("none", "weights")
MATCHING = "weights?restarts=4&scale=plain"  # the objective of the papers

study = Study(__file__, "How does the barrier between independent runs change with width and depth?")
train, test = study.data(8000, 2000)
subsets = {"test": test, "train": train.limited(2000)}


def run(width: int, depth: int, seed: int) -> dict[str, np.ndarray]:
    """Train a network."""
    net = network(f"mlp?width={width}&depth={depth}", train, seed)
    return flat({"end": lmc.train(net.module, train, seed=seed, **TRAINING).state})


def barriers(width: int, depth: int) -> dict[str, np.ndarray]:
    """Measure all pairs of one size: barriers (pair, row, split), losses of the ends (pair, split)."""
    net = network(f"mlp?width={width}&depth={depth}", train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    states = [unflat(study.part(run, width=width, depth=depth, seed=seed), "end") for seed in SEEDS]
    rows: dict[str, list] = {"loss": [], "error": [], "end_loss": []}
    for a, b in PAIRS:
        aligned = lmc.align(states[a], states[b], spec, method=MATCHING).apply(states[b])
        paths = {"none": lmc.LinearPath(states[a], states[b]), "weights": lmc.LinearPath(states[a], aligned)}
        found = [lmc.measure_barrier(net.module, paths, one, points=11, resamples=20) for one in subsets.values()]
        for kind in ("loss", "error"):
            rows[kind].append(np.stack([one[f"{kind}_barrier"].sel(baseline="chord").values for one in found], -1))
        rows["end_loss"].append([float(one.loss[0, [0, -1]].mean()) for one in found])
    return {key: np.array(value) for key, value in rows.items()}


def counterexample(examples: int, seed: int) -> dict[str, np.ndarray]:
    """Measure the accuracy barrier of Git Re-Basin's pair by every permutation, and let the search prove it.

    Both networks say whether x1 and x2 are positive; a score of theirs is the logit of "yes" beside a constant 0.
    """
    x = 2 * torch.rand((examples, 2), generator=torch.Generator().manual_seed(seed)) - 1
    data = lmc.as_data((x, (x >= 0).all(1).to(torch.int64)), name="quadrant")
    module = lmc.resolve("mlp?widths=2,2,2,2&activation=leaky_relu", seed=0).module
    spec = lmc.find_symmetries(module, x[:2])

    def state(first: Any, shift: Any, second: Any, second_shift: Any) -> dict[str, torch.Tensor]:
        values = (first, shift, second, second_shift, [[0, 0], [-1, -1]], [0, 0])
        return {key: torch.tensor(v, dtype=torch.float32) for key, v in zip(module.state_dict(), values, strict=True)}

    a = state([[1, 0], [0, -1]], [1, 0], [[-1, 0], [0, 1]], [1, 0])
    b = state([[-1, 0], [0, 1]], [0, 1], [[1, 0], [0, -1]], [0, 1])
    paths = {str(i): lmc.LinearPath(a, spec.apply(b, perm)) for i, perm in enumerate(every_permutation(spec))}
    found = lmc.measure_barrier(module, paths, data, points=25, resamples=1000)
    verdict = conjecture(module, {"a": a, "b": b}, data, ladder=("none", MATCHING), controls=False)
    return {
        "barrier": found.error_barrier.sel(baseline="chord").values,
        "interval": found.error_barrier_ci.sel(baseline="chord").values,
        "accuracy": found.accuracy.values[0, [0, -1]],
        "verdict": verdict.verdict.values.astype(str),
    }


by_width = [study.part(barriers, width=width, depth=2) for width in WIDTHS]
by_depth = [study.part(barriers, width=64, depth=depth) for depth in DEPTHS]
proof = study.part(counterexample, examples=4000, seed=0)
print("counterexample:", proof["accuracy"], proof["barrier"], proof["verdict"])


def slope(values: np.ndarray, against: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the least-squares slope of the mean over pairs, values (pair, size), and its node-bootstrap interval."""
    centred = against - against.mean()

    def fitted(sample: np.ndarray, weights: np.ndarray) -> float:
        return float(centred @ (weights @ sample) / (centred @ centred))

    even = np.full(len(values), 1 / len(values))
    return fitted(values, even), node_interval(values, PAIRS, statistic=fitted)


width_loss = np.stack([one["loss"] for one in by_width], 1)  # pair, width, alignment, split
depth_loss = np.stack([one["loss"] for one in by_depth], 1)
claims = []
for split, place in (("test", 0), ("train", 1)):
    for least in (SOLVING, WIDTHS[0]):
        first = WIDTHS.index(least)
        value, interval = slope(width_loss[:, first:, 1, place], np.log(WIDTHS[first:]))
        claims.append(
            Claim(
                f"slope of the aligned {split} loss barrier against log width, {least} to {WIDTHS[-1]}",
                value,
                interval,
                "nats per factor e",
                "falls with width (Git Re-Basin, Entezari)",
                interval[1] < 0,
                interval[0] > 0,
            )
        )
share, interval = mean_over_pairs((width_loss[:, :, 1, 0] / np.maximum(width_loss[:, :, 0, 0], 1e-6)).mean(1), PAIRS)
claims.append(
    Claim(
        "aligned test loss barrier as a share of the naive one, mean over widths",
        share,
        interval,
        "1",
        "permutations lower it (Entezari, Git Re-Basin)",
        interval[1] < 1,
        interval[0] > 1,
    )
)
naive = width_loss[:, :, 0, 0].mean(0)
peak = int(naive.argmax())
for end in (0, len(WIDTHS) - 1):
    gap = width_loss[:, peak, 0, 0] - width_loss[:, end, 0, 0]
    value, interval = mean_over_pairs(gap, PAIRS)
    claims.append(
        Claim(
            f"naive test loss barrier: its peak, at width {WIDTHS[peak]}, above that at {WIDTHS[end]}",
            value,
            interval,
            "nats",
            "rises to the interpolation width, then falls (Entezari)",
            interval[0] > 0,
            interval[1] < 0 or peak == end,
        )
    )
for row, name in enumerate(ROWS):
    value, interval = slope(depth_loss[:, :, row, 0], np.array(DEPTHS, dtype=float))
    claims.append(
        Claim(
            f"slope of the test loss barrier against depth 1 to 4, width 64, alignment {name}",
            value,
            interval,
            "nats per layer",
            "grows with depth (Entezari)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
least = int(proof["barrier"].argmin())
claims.append(
    Claim(
        f"counterexample 2-2-2-1: least error barrier of all 4 permutations ({proof['verdict'][0]})",
        proof["barrier"][least],
        proof["interval"][least],
        "1",
        "about 0.25 for all four (Git Re-Basin)",
        proof["verdict"][0] == "not connected by any permutation",
        proof["verdict"][0] == "connected",
    )
)

sizes = {"width": by_width, "depth": by_depth}
variables: dict[str, tuple] = {
    "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
    "width": ("width", WIDTHS),
    "depth": ("depth", DEPTHS),
    "alignment": ("alignment", list(ROWS)),
    "measured_on": ("measured_on", list(subsets), "images measured on", "1"),
    "permutation": ("permutation", range(4), "permutation of the counterexample", "1"),
    "counterexample_barrier": ("permutation", proof["barrier"], "error barrier of the counterexample", "1"),
}
for size, found in sizes.items():
    dims = ("pair", size, "alignment", "measured_on")
    fixed = "depth 2" if size == "width" else "width 64"
    for kind, units in (("loss", "nats"), ("error", "1")):
        values = np.stack([one[kind] for one in found], 1)
        variables[f"{size}_{kind}_barrier"] = (dims, values, f"{kind} barrier against the chord, {fixed}", units)
    ends = np.stack([one["end_loss"] for one in found], 1)
    variables[f"{size}_end_loss"] = ((*dims[:2], dims[3]), ends, f"mean loss of the two ends, {fixed}", "nats")
study.write(variables, claims, seeds=SEEDS, training=TRAINING)
