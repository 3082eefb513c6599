"""Weight matching on randomly initialised networks, beside the time of its matrix products and assignments.

Printed as ratios within one run: the machine's speed drifts, the ratio does not. The floor does not move with waste:
one full sweep's matrix products and one cold assignment per group, times the sweeps of the reference (random order,
from B as it is). Nothing here asserts a time.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from benchmarks.resnets import resnet18, resnet50

import lmc
from lmc.alignment import WeightMatching, align
from lmc.alignment.assignment import assign
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair

RESNETS = {"ResNet-18": resnet18, "ResNet-50": resnet50}
LARGE = {
    "VGG-11-BN": "vgg?plan=64,0,128,0,256,256,0,512,512,0,512,512,0&pooled=7&hidden=4096,4096&in_channels=3&size=224"
    "&classes=1000",
    "ViT-B/16": "vit?patch=16&dim=768&depth=12&heads=12&hidden=3072&in_channels=3&size=224&classes=1000",
}
INPUT = torch.zeros(1, 3, 64, 64)


def floor(spec, a, b) -> tuple[float, float]:
    """Return seconds of one full sweep's matrix products, and of one assignment per group."""
    products = assignments = 0.0
    for group in spec.groups:
        worth = torch.zeros(group.units, group.units)
        for axis in group.axes:
            if axis.param not in spec.buffers:
                rows = axis.units(a[axis.param]), axis.units(b[axis.param])
                start = time.perf_counter()
                worth += rows[0] @ rows[1].T
                products += time.perf_counter() - start
        start = time.perf_counter()
        assign(worth.numpy())
        assignments += time.perf_counter() - start
    return products, assignments


@pytest.mark.parametrize("name", RESNETS)
def test_random_pair(benchmark, name, capsys):
    a, b = (RESNETS[name](seed) for seed in (0, 1))
    spec = find_symmetries(a, INPUT)
    states = a.state_dict(), b.state_dict()
    floor(spec, *states)  # warm up
    result = benchmark.pedantic(
        lambda: align(*states, spec, method=WeightMatching(restarts=1)), rounds=3, warmup_rounds=1
    )
    products, assignments = floor(spec, *states)
    reference = align(*states, spec, method=WeightMatching(restarts=1, start="same"))
    sweeps = len(reference.trace) - 1
    took = benchmark.stats.stats.median
    with capsys.disabled():
        print(
            f"\n{name}: aligned in {took:.2f} s to {result.objective:.1f}, {len(result.trace) - 1} sweeps; reference "
            f"{sweeps} sweeps to {reference.objective:.1f}; one full sweep's matrix products {products:.2f} s, "
            f"assignments {assignments:.2f} s; {took / (sweeps * (products + assignments)):.2f} times the floor"
        )
    assert result.converged


@pytest.mark.parametrize("name", LARGE)
def test_large_random_pair(benchmark, name, capsys):
    a, b = (lmc.resolve(LARGE[name], seed=seed) for seed in (0, 1))
    spec = find_symmetries(a.module.eval(), a.example_inputs(seed=0))
    states = a.module.state_dict(), b.module.state_dict()
    spent = time.process_time()
    result = benchmark.pedantic(lambda: align(*states, spec, method=WeightMatching(restarts=1)), rounds=1)
    spent = time.process_time() - spent
    products, assignments = floor(spec, *states)
    took, sweeps = benchmark.stats.stats.median, len(result.trace) - 1
    with capsys.disabled():
        print(
            f"\n{name}: aligned in {took:.1f} s ({spent:.1f} s of processor time), {sweeps} sweeps; one full sweep's "
            f"matrix products {products:.1f} s, assignments {assignments:.1f} s; "
            f"{took / (products + assignments):.1f} times one full sweep"
        )
    assert result.converged


@pytest.mark.parametrize("name", RESNETS)
def test_planted_permutation(benchmark, name):
    model = RESNETS[name](0)
    spec = find_symmetries(model, INPUT)
    state = model.state_dict()
    b, answer = planted_pair(state, spec, seed=1)
    result = benchmark.pedantic(lambda: align(state, b, spec, method=WeightMatching(restarts=1)), rounds=1)
    assert all(np.array_equal(result.permutation[group], perm) for group, perm in answer.items())
