"""Weight matching beside the package ``rebasin``: the same pairs, one process, both until they converge.

Writes docs/rebasin.md. A few minutes; skipped when the package is absent (``pip install rebasin==0.0.47``):

    python analyses/02_rebasin.py

Pairs of randomly initialised ResNets, one per seed, and the trained digits pairs of this project. Both sides get a
network that has been traced already, so that the search alone is timed; ``rebasin`` draws its order of the groups from
the global generator, which is seeded the same for each pair. The objective is the float64 inner product of A's
parameters with those of B permuted, computed here, for both in the same way.

The floor does not move with what a method wastes: one full sweep's matrix products and one cold assignment per group,
times the sweeps of the reference order (random, from B as it is).
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lmc
from lmc.alignment import WeightMatching
from lmc.alignment.assignment import assign
from lmc.evaluation import inner_products
from lmc.symmetry import PermutationSpec

ROOT = Path(__file__).parents[1]
RESNET = "resnet?size=64&classes=1000&kernel=7&block="
NETWORKS = {
    "ResNet-18": RESNET + "basic",
    "ResNet-50": RESNET + "bottleneck&blocks=3,4,6,3&channels=256,512,1024,2048",
}
TRAINED = {"digits mlp": "mlp", "digits cnn-bn": "cnn-bn"}
SEEDS = (0, 1, 2, 3)
MOST = 100
"""Sweeps after which either is stopped; none comes near."""


def random_pair(reference: str, seed: int) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Return two networks with independent random weights, and an input."""
    a, b = (lmc.resolve(reference, seed=2 * seed + end) for end in (0, 1))
    return a.module.eval(), b.module.eval(), a.example_inputs(seed=0)[0]


def trained_pair(name: str) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Return the two digits networks of that name, and an input."""
    loaded = [lmc.load(ROOT / "data" / "checkpoints" / f"{name}-{end}.safetensors") for end in (1, 2)]
    found = [lmc.resolve(None, checkpoint) for checkpoint in loaded]
    for one, checkpoint in zip(found, loaded, strict=True):
        one.module.load_state_dict(checkpoint.state)
    return found[0].module.eval(), found[1].module.eval(), found[0].example_inputs(seed=0)[0]


def objective(a: nn.Module, b: nn.Module) -> float:
    """Return the inner product of two networks' parameters, in float64."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return sum(float((one.detach().double() * two.detach().double()).sum()) for one, two in pairs)


def change(b: nn.Module, moved: nn.Module, inputs: torch.Tensor) -> float:
    """Return by how much the outputs of a permuted network differ, relative to their spread.

    Statistics are those of the batch: ``rebasin`` leaves the running ones where they were, which is not its search.
    """
    batch = torch.randn((8, *inputs.shape[1:]), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = (copy.deepcopy(one).train()(batch) for one in (b, moved))
    return float((before - after).abs().max() / before.std())


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Run something; return wall-clock and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def by_rebasin(a: nn.Module, b: nn.Module, inputs: torch.Tensor, seed: int) -> dict[str, float]:
    """Align by ``rebasin`` until a sweep changes nothing."""
    from rebasin import PermutationCoordinateDescent

    moved = copy.deepcopy(b)
    descent = PermutationCoordinateDescent(a, moved, inputs)
    sweeps = 0
    step = descent._calculate_permutations_step

    def counted(loop: object) -> bool:
        nonlocal sweeps
        sweeps += 1
        return step(loop)

    descent._calculate_permutations_step = counted
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wall, cpu = timed(lambda: descent.calculate_permutations(MOST))
    descent.apply_permutations()
    reached = {"objective": objective(a, moved), "change": change(b, moved, inputs)}
    return {"seconds": wall, "cpu": cpu, "sweeps": sweeps, **reached}


def by_lmc(
    a: nn.Module, b: nn.Module, inputs: torch.Tensor, spec: PermutationSpec, method: WeightMatching, repeats: int
) -> dict[str, float]:
    """Align by weight matching: the median time of several runs that give the same."""
    states, times = (a.state_dict(), b.state_dict()), []
    for _ in range(repeats):
        found = []
        times.append(timed(lambda: found.append(lmc.align(*states, spec, method=method))))  # noqa: B023
    moved = copy.deepcopy(b)
    moved.load_state_dict(found[0].apply(states[1]))
    assert found[0].converged
    wall, cpu = np.median(times, axis=0)
    reached = {"objective": objective(a, moved), "change": change(b, moved, inputs)}
    return {"seconds": wall, "cpu": cpu, "sweeps": len(found[0].trace) - 1, **reached}


def floor(a: nn.Module, b: nn.Module, spec: PermutationSpec, seed: int) -> dict[str, float]:
    """Time one full sweep's matrix products and cold assignments, and count the sweeps of the reference order."""
    one, two = a.state_dict(), b.state_dict()
    products, assignments = np.zeros(2), np.zeros(2)
    for group in spec.groups:
        worth = torch.zeros(group.units, group.units)
        for axis in group.axes:
            if axis.param not in spec.buffers:
                rows, columns = axis.units(one[axis.param]), axis.units(two[axis.param])
                products += timed(lambda: worth.add_(inner_products(rows, columns)))  # noqa: B023
        assignments += timed(lambda: assign(worth.numpy()))  # noqa: B023
    reference = lmc.align(
        one, two, spec, method=WeightMatching(restarts=1, start="same", scale="plain", sweeps=MOST, seed=seed)
    )
    sweeps = len(reference.trace) - 1
    seconds, cpu = sweeps * (products + assignments)
    return {"seconds": seconds, "cpu": cpu, "sweeps": sweeps, "objective": reference.objective}


def measure(
    pair: tuple[nn.Module, nn.Module, torch.Tensor], seed: int, restarts: int, repeats: int
) -> list[dict[str, float]]:
    """Return what the floor is, and what both took and reached."""
    a, b, inputs = pair
    spec = lmc.find_symmetries(a, inputs)
    method = WeightMatching(restarts=restarts, scale="plain", sweeps=MOST, seed=seed)
    with torch.no_grad():
        floor(a, b, spec, seed)  # warm up
        ours = by_lmc(a, b, inputs, spec, method, repeats)
        return [floor(a, b, spec, seed), ours, by_rebasin(a, b, inputs, seed)]


def processor() -> str:
    """Return what the machine calls its processor, and the widest instructions that torch uses on it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"


def row(name: str, seed: int, found: Sequence[Mapping[str, float]]) -> list[str]:
    """Return one pair's cells."""
    base, ours, theirs = found
    cells = [name, str(seed)]
    cells += [f"{one['seconds']:.3g} ({one['cpu']:.3g})" for one in (ours, theirs)]
    cells += [f"{theirs['seconds'] / ours['seconds']:.1f}", f"{base['seconds']:.3g}"]
    cells += [f"{ours['seconds'] / base['seconds']:.2f}"]
    cells += [f"{one['objective']:.2f}" for one in (ours, theirs, base)]
    cells += [f"{one['change']:.0e}" for one in (ours, theirs)]
    return [*cells, " / ".join(f"{one['sweeps']:.0f}" for one in (ours, theirs, base))]


def medians(results: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> Iterator[str]:
    """Say for each network of several pairs what the medians are."""
    for name, pairs in results.items():
        if len(pairs) > 1:
            ours, theirs, share = np.median(
                [(one["seconds"], two["seconds"], one["seconds"] / base["seconds"]) for base, one, two in pairs], axis=0
            )
            worse = sum(one["objective"] < two["objective"] for _, one, two in pairs)
            yield (
                f"{name}, median of {len(pairs)} pairs: {ours:.3g} s against {theirs:.3g} s, {theirs / ours:.1f} times "
                f"as fast, {share:.2f} times the floor; the objective is lower than `rebasin`'s in {worse}."
            )


HEAD = [
    "pair",
    "seed",
    "lmc, s (cpu s)",
    "rebasin, s (cpu s)",
    "times faster",
    "floor, s",
    "times the floor",
    "objective of lmc",
    "of rebasin",
    "of the reference",
    "outputs change by, lmc",
    "rebasin",
    "sweeps: lmc / rebasin / reference",
]


def page(results: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], load: tuple[float, float]) -> str:
    """Write the table and what was measured."""
    rows = [row(name, seed, found) for name, pairs in results.items() for seed, found in enumerate(pairs)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in [HEAD, ["---"] * len(HEAD), *rows])
    told = "\n".join(f"- {line}" for line in medians(results))
    return f"""# Weight matching beside rebasin

The same pairs in one process, both until a sweep changes nothing, networks traced beforehand: `weights` and `rebasin`
0.0.47. Random pairs have independent weights, and `weights` one start; the digits pairs are trained, with the usual 8
starts. {processor()}, {torch.get_num_threads()} thread(s), torch
{torch.__version__}; load average {load[0]:.0f} before, {load[1]:.0f} after: where other work ran beside, processor
seconds (in brackets) tell more than the clock. Written by `analyses/02_rebasin.py`.

{table}

{told}

The objective is the inner product of A's parameters with those of B permuted, in float64. The reference is the same
method in random order from B as it is; the floor is one full sweep's matrix products and one cold assignment per
group, times its sweeps. Outputs of B before and after, relative to their spread, with the statistics of the batch in
BatchNorm layers: where they change, what was found is no symmetry of the network, and its objective means nothing.
"""


def main() -> None:
    """Measure all pairs and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "rebasin.md")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*NETWORKS, *TRAINED], action="append", help="network; all by default")
    given = parser.parse_args()
    if importlib.util.find_spec("rebasin") is None:
        print("rebasin is not installed: nothing to compare with (pip install rebasin==0.0.47)")
        return
    torch.set_num_threads(given.threads)
    before = os.getloadavg()[0]
    jobs = [(name, seed, partial(random_pair, text, seed)) for name, text in NETWORKS.items() for seed in SEEDS]
    jobs += [(name, 0, partial(trained_pair, text)) for name, text in TRAINED.items()]
    results: dict[str, list[list[dict[str, float]]]] = {}
    for name, seed, pair in jobs:
        if not given.only or name in given.only:
            restarts = 8 if name in TRAINED else 1
            results.setdefault(name, []).append(measure(pair(), seed, restarts, given.repeats))
            print(*row(name, seed, results[name][-1]), sep="  ", flush=True)
            given.output.write_text(page(results, (before, os.getloadavg()[0])))


if __name__ == "__main__":
    main()
