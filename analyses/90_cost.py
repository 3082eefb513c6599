"""What a study of many checkpoints costs: pairs one by one, and the ways round the square.

Writes docs/cost.md. A few minutes on a laptop:

    python analyses/90_cost.py

Costs of single steps (open, load, align, a unit of each alignment) are measured on a few pairs of the smallest study,
as lmc sweep --dry-run does it. From these the time of larger studies is predicted, and compared with sweeps that are
run; then it is extrapolated to 1,000 and 100,000 checkpoints. Times are CPU seconds of one worker with one thread, so
that they mean the same on a machine that does other things.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lmc import sweep
from lmc.architectures import resolve
from lmc.barriers import node_bootstrap
from lmc.checkpoints import save
from lmc.datasets import open_data
from lmc.training import train_checkpoint

DOCS = Path(__file__).parents[1] / "docs"
SIZES = (6, 9, 12)
FEW = 4
SAMPLE = 10_000
ALIGNMENT = "weights?restarts=2"
STUDIES = (1_000, 100_000)


@dataclass(frozen=True)
class Strategy:
    """A way to measure many checkpoints: how many steps of each kind n of them take."""

    name: str
    align: str
    pairs: str
    told: str

    def count(self, n: int) -> int:
        """Return the number of pairs that are measured."""
        everything = n * (n - 1) // 2
        return {"all": everything, "reference": n - 1, "sample": min(SAMPLE, everything)}[self.pairs]


STRATEGIES = (
    Strategy("all pairs, each aligned", ALIGNMENT, "all", "every barrier, aligned at its best"),
    Strategy("all pairs in one order", "universe", "all", "every barrier; n alignments to a pivot serve all"),
    Strategy("pairs with one reference", ALIGNMENT, "reference", "a barrier of each checkpoint"),
    Strategy("sampled pairs", ALIGNMENT, "sample", f"mean over {SAMPLE:,} pairs, interval over checkpoints"),
    Strategy("sampled pairs in one order", "universe", "sample", "the same, alignments shared"),
)


def trained(folder: Path, count: int) -> None:
    """Train small networks on the digits, a file each."""
    train, test = open_data("digits", "train"), open_data("digits", "test")
    for seed in range(count):
        network = resolve("mlp?widths=64,32,10", input_shape=train.input_shape, num_classes=10, seed=seed)
        result, about = train_checkpoint(network.module, network.reference, train, test, epochs=3, seed=seed)
        save(result.state, folder / f"{seed:02d}.safetensors", {"lmc": about})


def plan_of(folder: Path, count: int) -> sweep.Plan:
    """Plan a sweep of the first so many checkpoints."""
    paths = [f"{folder}/{seed:02d}.safetensors" for seed in range(count)]
    table = {
        "checkpoints": {"paths": paths},
        "measure": {"data": "digits", "align": [ALIGNMENT, "universe"]},
        "universe": {"base": ALIGNMENT},
    }
    return sweep.make_plan(sweep.parse_sweep(table))


def seconds_of(cost: sweep.Cost, strategy: Strategy, n: int) -> float:
    """Predict the seconds of a strategy for n checkpoints."""
    unit = next(seconds for (_, align), seconds in cost.units.items() if align == strategy.align)
    pairs = strategy.count(n)
    touched = min(n, 2 * pairs)
    order = cost.order if strategy.align == "universe" else 0.0
    return cost.start + touched * (cost.load + order) + pairs * unit


def measured(plan: sweep.Plan, folder: Path) -> float:
    """Run a sweep and return its CPU seconds."""
    before = time.process_time()
    with sweep.InProcess() as here:
        summary = sweep.run_sweep(plan, folder, here)
    if summary.failed:
        raise SystemExit(f"{summary.failed} units failed: {summary.failures[0]}")
    return time.process_time() - before


def compare(folder: Path, cost: sweep.Cost) -> list[str]:
    """Return rows of predicted and measured seconds."""
    rows = []
    for count in SIZES:
        plan = plan_of(folder, count)
        predicted = cost.seconds(plan)
        took = measured(plan, folder / f"results-{count}")
        rows.append(f"| {count} | {plan.size} | {predicted:.1f} | {took:.1f} | {100 * (predicted / took - 1):+.0f}% |")
        print(rows[-1], flush=True)
    return rows


def sampled(folder: Path) -> str:
    """Say how close a sample of pairs comes to all of them, with its interval over checkpoints."""
    table = sweep.collect(folder / f"results-{SIZES[-1]}").sel(alignment=ALIGNMENT, baseline="chord")
    values = table.loss_barrier.values
    pairs = list(zip(table.a.values.tolist(), table.b.values.tolist(), strict=True))
    chosen = np.sort(np.random.default_rng(0).choice(len(pairs), len(pairs) // 3, replace=False))
    drawn = node_bootstrap(values[chosen], [pairs[k] for k in chosen], seed=0)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return (
        f"Of {SIZES[-1]} checkpoints, the mean barrier over all {len(pairs)} pairs is {values.mean():.4f} nats; over "
        f"{len(chosen)} pairs drawn at random {values[chosen].mean():.4f}, 95% interval over the draw of checkpoints "
        f"(node bootstrap) [{low:.4f}, {high:.4f}]."
    )


def main() -> None:
    """Measure, predict, compare, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=DOCS / "cost.md")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        trained(folder, max(SIZES))
        few = plan_of(folder, FEW)
        sweep.measure_cost(few, 1)  # imports what a process imports once
        cost = sweep.measure_cost(few, 5, clock=time.process_time)
        rows = compare(folder, cost)
        said = sampled(folder)
    output.write_text(page(cost, rows, said), encoding="utf-8")
    print(f"wrote {output}")


def page(cost: sweep.Cost, rows: list[str], said: str) -> str:
    """Return the page."""
    units = "; ".join(f"a unit of `{align}` {1000 * seconds:.0f} ms" for (_, align), seconds in cost.units.items())
    table = []
    for one in STRATEGIES:
        cells = [f"{one.count(n):,} pairs, {sweep.duration(seconds_of(cost, one, n))}" for n in STUDIES]
        table.append(f"| {one.name} | {' | '.join(cells)} | {one.told} |")
    return "\n".join(
        [
            "# What many checkpoints cost",
            "",
            "Written by `analyses/90_cost.py`. MLPs 64-32-10 on the digits, 25 positions, CPU seconds of one worker",
            "with one thread: workers share them. Larger networks change the numbers and not the way they grow.",
            "",
            f"Single steps, from pairs of {FEW} checkpoints: opening and proving {cost.start:.1f} s, loading one",
            f"{1000 * cost.load:.0f} ms, bringing it into the common order {1000 * cost.order:.0f} ms; {units}.",
            "",
            f"Predicted from these, and measured (all pairs, `{ALIGNMENT}` and `universe`):",
            "",
            "| checkpoints | units | predicted, s | measured, s | difference |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Predicted for large studies:",
            "",
            f"| strategy | {STUDIES[0]:,} checkpoints | {STUDIES[1]:,} checkpoints | what it gives |",
            "|---|---|---|---|",
            *table,
            "",
            said,
            "",
        ]
    )


if __name__ == "__main__":
    main()
