"""Weight matching beside the package ``rebasin``: the same pairs, one process, both until they converge.

Writes data/02_rebasin.nc and prints it. A few minutes; skipped when the package is absent (``pip install
rebasin==0.0.47``):

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
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

import lmc
from lmc import schema
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
    return {"seconds": wall, "cpu": cpu, "sweeps": sweeps, "objective": objective(a, moved)}


def by_lmc(a: nn.Module, b: nn.Module, spec: PermutationSpec, seed: int, repeats: int) -> dict[str, float]:
    """Align by weight matching from its first start: the median time of several runs that give the same."""
    states, times = (a.state_dict(), b.state_dict()), []
    for _ in range(repeats):
        found = []
        method = WeightMatching(restarts=1, sweeps=MOST, seed=seed)
        times.append(timed(lambda: found.append(lmc.align(*states, spec, method=method))))  # noqa: B023
    moved = copy.deepcopy(b)
    moved.load_state_dict(found[0].apply(states[1]))
    assert found[0].converged
    wall, cpu = np.median(times, axis=0)
    return {"seconds": wall, "cpu": cpu, "sweeps": len(found[0].trace) - 1, "objective": objective(a, moved)}


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
    reference = lmc.align(one, two, spec, method=WeightMatching(restarts=1, start="same", sweeps=MOST, seed=seed))
    sweeps = len(reference.trace) - 1
    seconds, cpu = sweeps * (products + assignments)
    return {"seconds": seconds, "cpu": cpu, "sweeps": sweeps, "objective": reference.objective}


def measure(pair: tuple[nn.Module, nn.Module, torch.Tensor], seed: int, repeats: int) -> list[dict[str, float]]:
    """Return what the floor is, and what both took and reached."""
    a, b, inputs = pair
    spec = lmc.find_symmetries(a, inputs)
    with torch.no_grad():
        floor(a, b, spec, seed)  # warm up
        return [floor(a, b, spec, seed), by_lmc(a, b, spec, seed, repeats), by_rebasin(a, b, inputs, seed)]


def main() -> None:
    """Measure all pairs, print a table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "data" / "02_rebasin.nc")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor", default=platform.processor() or platform.machine(), help="what to call it")
    parser.add_argument("--only", choices=[*NETWORKS, *TRAINED], action="append", help="network; all by default")
    given = parser.parse_args()
    if importlib.util.find_spec("rebasin") is None:
        print("rebasin is not installed: nothing to compare with (pip install rebasin==0.0.47)")
        return
    torch.set_num_threads(given.threads)
    jobs = [(name, seed, lambda n=n, s=seed: random_pair(n, s)) for name, n in NETWORKS.items() for seed in SEEDS]
    jobs += [(name, 0, lambda n=n: trained_pair(n)) for name, n in TRAINED.items()]
    rows = []
    for name, seed, pair in jobs:
        if given.only and name not in given.only:
            continue
        found = measure(pair(), seed, given.repeats)
        rows.append((name, seed, found))
        base, ours, theirs = found
        print(
            f"{name:<14}{seed}  lmc {ours['seconds']:.3f} s ({ours['sweeps']:.0f} sweeps, {ours['objective']:.2f})  "
            f"rebasin {theirs['seconds']:.3f} s ({theirs['sweeps']:.0f}, {theirs['objective']:.2f})  "
            f"{theirs['seconds'] / ours['seconds']:.1f} x; floor {base['seconds']:.3f} s ({base['sweeps']:.0f}), "
            f"{ours['seconds'] / base['seconds']:.2f} of it; cpu {ours['cpu']:.3f} {theirs['cpu']:.3f} "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
