"""Weight matching on randomly initialised ResNets, beside the time of its matrix products and assignments.

Printed as ratios within one run: the machine's speed drifts, the ratio does not. Nothing here asserts a time.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from benchmarks.resnets import resnet18, resnet50

from lmc.alignment import WeightMatching, align
from lmc.alignment.assignment import assign
from lmc.symmetry import find_symmetries
from lmc.testing import planted_pair

NETWORKS = {"ResNet-18": resnet18, "ResNet-50": resnet50}
INPUT = torch.zeros(1, 3, 64, 64)


def floor(spec, a, b) -> tuple[float, float]:
    """Return seconds of one full sweep's matrix products, and of one assignment per group."""
    products = assignments = 0.0
    for group in spec.groups:
        worth = torch.zeros(group.size, group.size)
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


@pytest.mark.parametrize("name", NETWORKS)
def test_random_pair(benchmark, name, capsys):
    a, b = (NETWORKS[name](seed) for seed in (0, 1))
    spec = find_symmetries(a, INPUT)
    states = a.state_dict(), b.state_dict()
    floor(spec, *states)  # warm up
    result = benchmark.pedantic(
        lambda: align(*states, spec, method=WeightMatching(restarts=1)), rounds=3, warmup_rounds=1
    )
    products, assignments = floor(spec, *states)
    sweeps = len(result.trace) - 1
    took = benchmark.stats.stats.median
    with capsys.disabled():
        print(
            f"\n{name}: aligned in {took:.2f} s, {sweeps} sweeps; one full sweep's matrix products {products:.2f} s, "
            f"assignments {assignments:.2f} s; {took / (sweeps * (products + assignments)):.2f} times "
            f"{sweeps} full sweeps"
        )
    assert result.converged


@pytest.mark.parametrize("name", NETWORKS)
def test_planted_permutation(benchmark, name):
    model = NETWORKS[name](0)
    spec = find_symmetries(model, INPUT)
    state = model.state_dict()
    b, answer = planted_pair(state, spec, seed=1)
    result = benchmark.pedantic(lambda: align(state, b, spec, method=WeightMatching(restarts=1)), rounds=1)
    assert all(np.array_equal(result.permutation[group], perm) for group, perm in answer.items())
