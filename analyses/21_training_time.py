"""One permutation along training: found at the end, does it serve earlier epochs, initialisations, all pairs at once.

Sharma and others (2024): weak, strong and simultaneous connectivity; Benzing and others (2022): initialisations.
Five MLPs 784-256-256-10, SGD 0.05 with momentum 0.5, on 8,000 images; about fifteen minutes on a laptop:

    python analyses/21_training_time.py

The final permutation is weight matching's after the last epoch. "Strong" permutes every model once, either onto the
first or into an order common to all (merge-many), and measures pairs that were not matched to each other.

Sharma's figures for the final permutation come without a batch size, and without saying on which images a barrier was
measured and whether it is the maximum along the path or the value in its middle: all of these are tried.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Claim, Study, flat, mean_over_pairs, network, pairs_of, unflat

import lmc
from lmc.barriers import node_interval

SEEDS = (0, 1, 2, 3, 4)
WIDE, WIDE_EPOCHS, WIDE_SEEDS = 1024, 5, (0, 1, 2)
EPOCHS = (0, 1, 2, 5, 10, 20)
TRAINING = {"lr": 0.05, "optimizer": "sgd", "momentum": 0.5, "schedule": "none", "epochs": 20}
BATCH, BATCHES = 64, (32, 50, 64, 100, 128)
MATCHING = "weights?restarts=4&scale=plain"
ROWS = ("none", "weights", "final", "random")
SHARMA = {1: 0.040, 2: 0.035, 5: 0.017, 10: 0.013}
LEAST = 0.0005  # what rounds to 0.000 counts as this, so that a ratio to it is finite
READINGS = ("maximum", "midpoint")

study = Study(__file__, "Does the permutation found after training serve earlier epochs and the initialisations?")
train, test = study.data(8000, 2000)
splits = {"test": test, "train": train.limited(2000)}


def reference(width: int) -> str:
    """Return the network's name."""
    return f"mlp?width={width}&depth=2"


def run(width: int, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Train a network, and keep its weights along the way."""
    net = network(reference(width), train, seed)
    kept = {0: net.module.state_dict()}
    lmc.train(net.module, train, seed=seed, batch_size=batch, callback=kept.__setitem__, **TRAINING)
    return flat({epoch: kept[epoch] for epoch in EPOCHS})


def curves(paths: dict[str, Any], module: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the barriers (row, loss or error) and the accuracy in the middle (row)."""
    found = lmc.measure_barrier(module, paths, test, points=11, resamples=20)
    barriers = [found[f"{kind}_barrier"].sel(baseline="chord").values for kind in ("loss", "error")]
    return np.stack(barriers, -1), found.accuracy.sel(t=0.5).values


def along(width: int, a: int, b: int) -> dict[str, np.ndarray]:
    """Measure a pair at every epoch: as it is, matched there, and by the final permutation and a random one."""
    net = network(reference(width), train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    runs = [study.part(run, width=width, batch=BATCH, seed=seed) for seed in (a, b)]
    final = lmc.align(*(unflat(one, EPOCHS[-1]) for one in runs), spec, method=MATCHING).permutation
    barriers, middle = [], []
    for epoch in EPOCHS if width == 256 else (0, EPOCHS[-1]):
        one, other = (unflat(states, epoch) for states in runs)
        now = lmc.align(one, other, spec, method=MATCHING).permutation
        moved = (None, now, final, spec.random(a + 10 * b))
        ends = [other if perm is None else spec.apply(other, perm) for perm in moved]
        found = curves({row: lmc.LinearPath(one, end) for row, end in zip(ROWS, ends, strict=True)}, net.module)
        barriers.append(found[0])
        middle.append(found[1])
    return {"barrier": np.array(barriers), "middle": np.array(middle)}


def in_batches(width: int, batch: int, a: int, b: int) -> dict[str, np.ndarray]:
    """Measure a pair as it is and by the final permutation: barrier in nats (epoch, row, split, reading)."""
    net = network(reference(width), train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    runs = [study.part(run, width=width, batch=batch, seed=seed) for seed in (a, b)]
    final = lmc.align(*(unflat(one, EPOCHS[-1]) for one in runs), spec, method=MATCHING).permutation
    made = []
    for epoch in SHARMA:
        one, other = (unflat(states, epoch) for states in runs)
        paths = {"none": lmc.LinearPath(one, other), "final": lmc.LinearPath(one, spec.apply(other, final))}
        measured = [
            lmc.measure_barrier(net.module, paths, images, points=11, resamples=20) for images in splits.values()
        ]
        middle = [found.loss.sel(t=0.5) - found.loss.sel(t=[0, 1]).mean("t") for found in measured]
        highest = np.stack([found.loss_barrier.sel(baseline="chord").values for found in measured], 1)
        made.append(np.stack([highest, np.stack(middle, 1)], -1))
    return {"barrier": np.array(made)}


def together(width: int) -> dict[str, np.ndarray]:
    """Measure pairs of models that were each permuted once."""
    net = network(reference(width), train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    states = [unflat(study.part(run, width=width, batch=BATCH, seed=seed), EPOCHS[-1]) for seed in SEEDS]
    first = [states[0], *(lmc.align(states[0], one, spec, method=MATCHING).apply(one) for one in states[1:])]
    common = lmc.align_many(states, spec, method="merge-many").apply(states)
    return {
        name: np.array([curves({"path": lmc.LinearPath(moved[a], moved[b])}, net.module)[0][0] for a, b in pairs])
        for name, moved, pairs in (("first", first, pairs_of(range(1, len(states)))), ("common", common, PAIRS))
    }


def wide_run(width: int, seed: int, epochs: int) -> dict[str, np.ndarray]:
    """Train a wide network for a few epochs; that is enough for a permutation."""
    net = network(reference(width), train, seed)
    end = lmc.train(net.module, train, seed=seed, batch_size=BATCH, **{**TRAINING, "epochs": epochs}).state
    return flat({0: net.module.state_dict(), epochs: end})


def initial(width: int, seeds: list[int], epochs: int) -> dict[str, np.ndarray]:
    """Return the midpoint accuracy (pair, row) of initialisations: as they are, by the final permutation, at random."""
    net = network(reference(width), train, 0)
    spec = lmc.find_symmetries(net.module, train.inputs[:2])
    runs = [study.part(wide_run, width=width, seed=seed, epochs=epochs) for seed in seeds]
    middle = []
    for a, b in pairs_of(seeds):
        final = lmc.align(unflat(runs[a], epochs), unflat(runs[b], epochs), spec, method=MATCHING).permutation
        one, other = unflat(runs[a], 0), unflat(runs[b], 0)
        moved = {"none": other, "final": spec.apply(other, final), "random": spec.apply(other, spec.random(a + 10 * b))}
        paths = {row: lmc.LinearPath(one, end) for row, end in moved.items()}
        found = lmc.measure_barrier(net.module, paths, test, t=[0, 0.5, 1], resamples=20)
        middle.append(found.accuracy.sel(t=0.5).values)
    return {"middle": np.array(middle)}


PAIRS = pairs_of(SEEDS)
found = [study.part(along, width=256, a=a, b=b) for a, b in PAIRS]
sizes = np.array(
    [[study.part(in_batches, width=256, batch=batch, a=a, b=b)["barrier"] for batch in BATCHES] for a, b in PAIRS]
)  # pair, batch, epoch, row, split, reading
wide = study.part(initial, width=WIDE, seeds=list(WIDE_SEEDS), epochs=WIDE_EPOCHS)["middle"]
strong = study.part(together, width=256)
barrier = np.array([one["barrier"] for one in found])  # pair, epoch, alignment, metric
middle = np.array([one["middle"] for one in found])

PUBLISHED = np.array(list(SHARMA.values()))


def farthest(sample: np.ndarray, weights: np.ndarray) -> float:
    """Return log2 of the largest factor between the weighted mean of (pair, epoch) and the published figures."""
    return float(np.abs(np.log2(np.maximum(weights @ sample, LEAST) / PUBLISHED)).max())


even = np.full(len(PAIRS), 1 / len(PAIRS))
claims = []
for place, batch in enumerate(BATCHES):
    sample = sizes[:, place, :, 1, 0, 0]
    interval = 2 ** np.maximum(node_interval(sample, PAIRS, statistic=farthest), 0)
    claims.append(
        Claim(
            f"final permutation at epochs {', '.join(map(str, SHARMA))}, batches of {batch}: largest factor from "
            "the published barriers",
            2 ** farthest(sample, even),
            interval,
            "1",
            f"{', '.join(f'{x:.3f}' for x in PUBLISHED)} (Sharma): within a factor of 2",
            bool(2 ** farthest(sample, even) <= 2),
            bool(interval[0] > 2),
        )
    )
for name, pairs in (("first", pairs_of(SEEDS[1:])), ("common", PAIRS)):
    direct = barrier[[PAIRS.index(pair) for pair in pairs], -1, 1, 0]
    value, interval = mean_over_pairs(strong[name][:, 0] - direct, pairs)
    kind = "onto the first" if name == "first" else "into a common order"
    claims.append(
        Claim(
            f"strong, every model permuted once {kind}: barrier above that of direct matching ({direct.mean():.4f})",
            value,
            interval,
            "nats",
            "strong 0.054 against direct 0.024 (Sharma)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )
for width, values, pairs in ((256, middle[:, 0][:, [0, 2, 3]], PAIRS), (WIDE, wide, pairs_of(WIDE_SEEDS))):
    chance = np.maximum(values[:, 0], values[:, 2])
    value, interval = mean_over_pairs(values[:, 1] - chance, pairs)
    published = {256: "40%", 1024: "63%"}[width]
    claims.append(
        Claim(
            f"initialisations, width {width}: midpoint accuracy by the final permutation "
            f"({values[:, 1].mean():.3f}) above the better of none and random ({chance.mean():.3f})",
            value,
            interval,
            "1",
            f"jumps from 10% to {published} (Benzing)",
            interval[0] > 0,
            interval[1] < 0,
        )
    )

dims = ("pair", "epoch", "alignment")
study.write(
    {
        "pair": ("pair", [f"{a}-{b}" for a, b in PAIRS]),
        "epoch": ("epoch", EPOCHS),
        "alignment": ("alignment", list(ROWS)),
        "loss_barrier": (dims, barrier[..., 0], "test loss barrier against the chord, width 256", "nats"),
        "error_barrier": (dims, barrier[..., 1], "test error barrier against the chord, width 256", "1"),
        "middle_accuracy": (dims, middle, "test accuracy at the midpoint, width 256", "1"),
        "strong_barrier": (dims[:1], strong["common"][:, 0], "test loss barrier in the common order", "nats"),
        "shown_epoch": ("shown_epoch", list(SHARMA)),
        "batch": ("batch", BATCHES),
        "shown_row": ("shown_row", ["none", "final"]),
        "measured_on": ("measured_on", list(splits)),
        "reading": ("reading", list(READINGS)),
        "published_barrier": ("shown_epoch", PUBLISHED, "loss barrier by the final permutation (Sharma)", "nats"),
        "batch_loss_barrier": (
            ("pair", "batch", "shown_epoch", "shown_row", "measured_on", "reading"),
            sizes,
            "loss barrier against the chord by batch size, width 256",
            "nats",
        ),
        "wide_pair": ("wide_pair", [f"{a}-{b}" for a, b in pairs_of(WIDE_SEEDS)]),
        "wide_row": ("wide_row", ["none", "final", "random"]),
        "wide_middle_accuracy": (
            ("wide_pair", "wide_row"),
            wide,
            "test accuracy at the midpoint of initialisations, width 1024",
            "1",
        ),
    },
    claims,
    seeds={"256": SEEDS, str(WIDE): WIDE_SEEDS},
    training={**TRAINING, "batch_size": BATCH},
)
