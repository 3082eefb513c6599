"""Losses and errors of made-up examples along made-up paths, whose barriers are known; as a script, tables of coverage.

    python tests/synthetic_curves.py [coverage|adaptive|nodes]

Each curve has a population of examples. An example has a margin that moves smoothly along the path: a straight line
between the ends, minus a bump of its own height, place and width. Its loss is softplus(-margin), and it is wrong where
the margin is negative: neighbouring positions are strongly correlated, few examples make up most of a mean, and losses
have long tails. Data sets are drawn from the population with replacement, so the truth is the population's own barrier.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmc.barriers import barrier_interval, make_grid, node_bootstrap, node_interval, percentile_interval, rises
from lmc.barriers.sequential import Question, decide

KINDS = ("hump", "point", "two humps", "plateau", "unequal ends", "small", "flat", "below")
"""``flat``: the mean loss is straight; ``below``: it sags. Their barriers against the chord are 0, or close to it."""

NO_BARRIER = 1e-4
"""Smaller barriers are told apart: they lie on the border of what a barrier can be."""


def populations(
    kind: str, count: int, size: int, t: NDArray[np.float64], draw: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return losses and errors, shape (curve, example, t), of as many curves of one kind."""
    one, each = (count, 1, 1), (count, size, 1)
    start = draw.uniform(3, 7, one) + draw.uniform(1.2, 2.5, one) * draw.standard_normal(each)
    margin = _f32(start) + _f32(draw.normal(0, 0.5, one) + draw.normal(0, 1, each)) * _f32(t)
    spread = draw.uniform(0.3, 1.2, one)
    jitter = draw.normal(0, 0.06, each)

    def bump(low: float, high: float, place: NDArray[np.float64], width: NDArray[np.float64], flat: int = 2):
        heights = draw.uniform(low, high, one) * np.exp(spread * draw.standard_normal(each) - spread**2 / 2)
        apart = ((_f32(t) - _f32(place)) / _f32(width)) ** flat
        return _f32(heights) * np.exp(-apart) * _f32((4 * t * (1 - t)) ** 0.25)

    match kind:
        case "hump":
            margin -= bump(1, 8, draw.uniform(0.3, 0.7, one) + jitter, draw.uniform(0.15, 0.35, one))
        case "point":
            margin -= bump(2, 8, draw.uniform(0.2, 0.8, one), draw.uniform(0.05, 0.08, one))
        case "two humps":
            first = draw.random(each) < draw.uniform(0.4, 0.6, one)
            place = np.where(first, draw.uniform(0.2, 0.35, one), draw.uniform(0.65, 0.8, one))
            margin -= bump(2, 8, place + jitter, draw.uniform(0.1, 0.18, one))
        case "plateau":
            margin -= bump(1, 6, 0.5 + jitter, np.full(one, 0.42), flat=8)
        case "unequal ends":
            margin -= bump(1, 5, draw.uniform(0.1, 0.9, one) + jitter, np.full(one, 0.25))
            margin -= _f32(draw.normal(0, 2, one)) * _f32(t)
        case "small":
            margin -= bump(0.1, 0.6, draw.uniform(0.3, 0.7, one) + jitter, draw.uniform(0.2, 0.35, one))
        case "flat":
            for wave in (1, 2):
                margin += _f32(draw.normal(0, 0.3, each)) * _f32(np.sin(wave * np.pi * t))
        case "below":
            margin += _f32(draw.uniform(0.5, 2, one) * np.exp(0.5 * draw.standard_normal(each))) * _f32(
                np.sin(np.pi * t)
            )
    loss = np.logaddexp(np.float32(0), -margin)
    if kind == "flat":
        mean = loss.mean(axis=1, keepdims=True, dtype=np.float64)
        loss *= _f32(((1 - t) * mean[..., :1] + t * mean[..., -1:]) / mean)
    return loss, margin < 0


def _f32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)


@dataclass(frozen=True)
class Covered:
    """What became of the intervals of one kind, metric and baseline; arrays of shape (curve,)."""

    kind: str
    metric: str
    baseline: str
    truth: NDArray[np.float64]
    interval: NDArray[np.float64]
    oracle: NDArray[np.float64]

    @property
    def barrier(self) -> NDArray[np.bool_]:
        """Whether there is a barrier to speak of."""
        return self.truth > NO_BARRIER

    @property
    def held(self) -> NDArray[np.bool_]:
        """Whether the interval holds the truth, up to rounding."""
        low, high = self.interval.T
        return (low <= self.truth + 1e-7) & (self.truth <= high + 1e-7)

    @property
    def width(self) -> NDArray[np.float64]:
        """Width of the interval over the oracle's: the central 95% of the estimates of fresh data sets."""
        found = np.diff(self.interval, axis=-1)[:, 0]
        return np.divide(found, self.oracle, out=np.full_like(found, np.nan), where=self.oracle > 1e-9)


def coverage(
    curves: int,
    examples: int,
    *,
    size: int = 1000,
    points: int = 25,
    resamples: int = 400,
    fresh: int = 300,
    seed: int = 0,
    interval=barrier_interval,
) -> Iterator[Covered]:
    """Draw a data set for each of so many curves, and make the interval of its barrier."""
    draw, t = np.random.default_rng(seed), make_grid(points)
    new = draw.multinomial(examples, np.full(size, 1 / size), size=fresh).astype(np.float32) / np.float32(examples)
    again = draw.multinomial(examples, np.full(examples, 1 / examples), size=resamples).astype(np.float32)
    again /= np.float32(examples)
    chunk = max(1, 2**21 // (max(size, examples) * len(t)))
    for kind in KINDS:
        left = curves // len(KINDS)
        while left > 0:
            count = min(chunk, left)
            left -= count
            loss, wrong = populations(kind, count, size, t, draw)
            rows = draw.integers(0, size, (count, examples))
            for metric, population in (("loss", loss), ("error", wrong.astype(np.float32))):
                seen = np.take_along_axis(population, rows[..., None], axis=1)
                truth, drawn = population.mean(axis=1, dtype=np.float64), (again @ seen).swapaxes(0, 1)
                estimates = (new @ population).swapaxes(0, 1)
                for baseline in ("chord", "mean"):
                    low, high = np.quantile(rises(estimates, t, baseline).max(-1), [0.025, 0.975], axis=0)
                    found = interval(rises(seen, t, baseline), rises(drawn, t, baseline))
                    yield Covered(kind, metric, baseline, rises(truth, t, baseline).max(-1), found, high - low)


def summary(found: list[Covered]) -> tuple[float, float, float]:
    """Return the coverage of what has a barrier, of what has none, and the mean width over the oracle's."""
    held, barrier = (np.concatenate([getattr(one, name) for one in found]) for name in ("held", "barrier"))
    width = np.concatenate([one.width for one in found])
    none = held[~barrier].mean() if (~barrier).any() else np.nan
    wide = width[barrier & np.isfinite(width)]
    return (held[barrier].mean() if barrier.any() else np.nan), none, (wide.mean() if wide.size else np.nan)


def table(curves: int, examples: tuple[int, ...]) -> Iterator[str]:
    """Yield the lines of the table of docs/intervals.md."""
    yield "| curves | barrier of | test set of | coverage | coverage where the barrier is 0 | width / oracle |"
    yield "|---|---|---|---|---|---|"
    for count in examples:
        found = list(coverage(curves, count))
        for metric in ("loss", "error"):
            for kind in ("all", *KINDS):
                some = [one for one in found if one.metric == metric and kind in ("all", one.kind)]
                told = [f"{value:.3f}" if np.isfinite(value) else "" for value in summary(some)]
                yield f"| {kind} | {metric} | {count:,} | {' | '.join(told)} |"


@dataclass(frozen=True)
class Run:
    """One adaptive run on a made-up path: the barrier is ``ratio`` times the tolerance."""

    metric: str
    target: str
    ratio: float
    verdict: str
    held: bool
    share: float

    @property
    def wrong(self) -> bool:
        """Whether the verdict is the wrong one."""
        return self.verdict == ("above" if self.ratio < 1 else "below tolerance")

    @property
    def open(self) -> bool:
        """Whether there is none."""
        return self.verdict == "undecided"


RATIOS = (0.5, 0.9, 1.1, 2)


def adaptive_runs(curves: int, size: int, *, points: int = 25, seed: int = 1) -> Iterator[Run]:
    """Run on so many curves of each kind that has barriers, losses and errors, for the set and the distribution."""
    draw, t = np.random.default_rng(seed), make_grid(points)
    for kind in KINDS[:6]:
        for _ in range(curves):
            loss, wrong = populations(kind, 1, size, t, draw)
            for metric, values in (("loss", loss[0].astype(np.float64)), ("error", wrong[0].astype(np.float64))):
                truth = rises(values.mean(axis=0), t).max()
                if truth > 1e-3:  # a difference of several examples
                    yield from _ratios(metric, values, truth, t, draw)


def _ratios(
    metric: str, values: NDArray[np.float64], truth: float, t: NDArray[np.float64], draw: np.random.Generator
) -> Iterator[Run]:
    size, limits = len(values), (0.0, 1.0) if metric == "error" else None
    for target in ("set", "distribution"):
        for ratio in RATIOS:
            finite = target == "set"
            drawn = values[draw.permutation(size) if finite else draw.integers(0, size, size)]
            question = Question(t, size, truth / ratio, finite=finite, limits=limits)
            answer = decide(question, lambda at, start, stop, x=drawn: x[start:stop][:, list(at)].T)
            low, high = answer.interval
            held = low <= truth + 1e-9 and truth <= high + 1e-9
            yield Run(metric, target, ratio, answer.verdict, held, answer.examples.sum() / values.size)


def adaptive_table(curves: int, size: int) -> Iterator[str]:
    """Yield the lines of the second table of docs/intervals.md."""
    runs = list(adaptive_runs(curves, size))
    head = (
        "metric | target | barrier / tolerance | runs | wrong | undecided | interval holds | evaluations: mean | median"
    )
    yield f"| {head} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for metric in ("loss", "error"):
        for target in ("set", "distribution"):
            for ratio in RATIOS:
                some = [run for run in runs if (run.metric, run.target, run.ratio) == (metric, target, ratio)]
                told = [f"{np.mean([getattr(run, name) for run in some]):.3f}" for name in ("wrong", "open", "held")]
                shares = [run.share for run in some]
                cost = f"{100 * np.mean(shares):.1f}% | {100 * np.median(shares):.1f}%"
                yield f"| {metric} | {target} | {ratio} | {len(some)} | {' | '.join(told)} | {cost} |"


def node_table(runs: int = 1000, seed: int = 0) -> Iterator[str]:
    """Yield the lines of the third table: value of a pair = effects of its two models + one of its own."""
    draw = np.random.default_rng(seed)
    yield "| models | effect of a pair | coverage | percentiles alone | as if pairs were independent |"
    yield "|---|---|---|---|---|"
    for models in (4, 6, 10, 20):
        pairs = np.array(list(itertools.combinations(range(models), 2)))
        for own in (1, 0):
            values = draw.standard_normal((models, runs))[pairs].sum(axis=1)
            values += own * draw.standard_normal(values.shape)
            naive = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(pairs))
            alone = percentile_interval(node_bootstrap(values, pairs))
            held = [np.mean((low <= 0) & (high >= 0)) for low, high in (node_interval(values, pairs).T, alone.T)]
            told = [f"{share:.3f}" for share in (*held, np.mean(abs(values.mean(axis=0)) <= naive))]
            yield f"| {models} | {own} | {' | '.join(told)} |"


if __name__ == "__main__":
    makers = {
        "coverage": lambda: table(2000, (500, 2000)),
        "adaptive": lambda: adaptive_table(20, 10_000),
        "nodes": node_table,
    }
    for name in sys.argv[1:] or makers:
        for line in makers[name]():
            print(line, flush=True)
