"""Barycenters of wide layers: seconds and memory of fusing networks with 1024 units a layer.

Each in a process of its own, whose largest memory is read at its end, torch's own included. Nothing asserts a time.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import resource, sys, time, torch
from lmc import find_symmetries, fuse
from lmc.testing import tiny_mlp
count, method = int(sys.argv[1]), sys.argv[2]
networks = [tiny_mlp((784, 1024, 1024, 1024, 10), seed=seed) for seed in range(count)]
spec = find_symmetries(networks[0], torch.zeros(1, 784))
states = [network.state_dict() for network in networks]
before, wall, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
fuse(states, spec, method=method)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{time.perf_counter() - wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU, "
      f"{peak / 1e3:.0f} MB at most, {before / 1e3:.0f} MB before")
"""


@pytest.mark.parametrize(("count", "method"), [(2, "wb"), (2, "wb?sides=incoming"), (4, "wb")])
def test_layers_of_1024_units(count: int, method: str):
    done = subprocess.run([sys.executable, "-c", RUN, str(count), method], capture_output=True, text=True, check=True)
    print(f"\n{count} networks, {method}: {done.stdout.strip()}")
