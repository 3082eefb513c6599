"""Memory and time of weight matching on a generated Llama-like pair of 1.3 billion parameters in half precision.

Two files of 2.7 GB each go to a temporary folder, one tensor at a time; a process of its own maps them and aligns them:

    python analyses/03_large_pair.py                       # B is A in another order, with noise; one start
    python analyses/03_large_pair.py --independent         # B has weights of its own: hours
    python analyses/03_large_pair.py --align "weights?restarts=8"

The sizes are those of Sheared-LLaMA 1.3B. B is A with every group permuted at random, and noise of half the weights'
standard deviation: what share of the units is found again is told. Memory is told in three numbers: what the process
holds of its own (anonymous), the pages of the two files that happen to be in memory (which the system takes back when
it needs them), and the most of both together (the maximum resident set of getrusage). Nothing of it is written but what
is printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import lmc
from lmc.architectures import registry
from lmc.symmetry import PermutationSpec
from lmc.testing import planted_pair

SIZES = {"vocab": 32000, "block": 16, "dim": 2048, "depth": 24, "heads": 16, "hidden": 5504, "tied": False}
GB = 1e9
PLANTED = 7
"""Seed of the planted permutation."""


def network(sizes: dict[str, int]) -> torch.nn.Module:
    """Return the network without memory for weights: its shapes are all that finding symmetries needs."""
    with torch.device("meta"):
        return registry.NETWORKS["llama"](**sizes).eval()


def random_state(sizes: dict[str, int], seed: int) -> dict[str, torch.Tensor]:
    """Return random weights in float16, of the sizes that models of this kind are initialised with."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, like in network(sizes).state_dict().items():
        drawn = torch.empty(like.shape)
        if like.dim() == 1:
            drawn.fill_(1.0)
        else:
            drawn.normal_(std=0.02, generator=generator)
        state[name] = drawn.half()
    return state


def pair(sizes: dict[str, int], independent: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Yield A, then B."""
    a = random_state(sizes, 0)
    yield a
    yield random_state(sizes, 1) if independent else planted_pair(a, symmetries(sizes), noise=0.5, seed=PLANTED)[0]


def write(files: Sequence[Path], states: Iterable[Mapping[str, torch.Tensor]]) -> None:
    """Write one network after the other; nothing of them stays in memory."""
    for path, state in zip(files, states, strict=True):
        lmc.save(state, path)


def watched(run: Callable[[], object]) -> tuple[object, float]:
    """Run something, and return the most anonymous memory that the process had meanwhile, in bytes."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text()
            peak = max(peak, 1024 * int(status.split("RssAnon:")[1].split()[0]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return run(), float(peak)
    finally:
        done.set()
        thread.join()


def symmetries(sizes: dict[str, int]) -> PermutationSpec:
    """Return what may be permuted, found without weights."""
    return lmc.find_symmetries(network(sizes), torch.zeros(1, sizes["block"], dtype=torch.long, device="meta"))


def found_again(spec: PermutationSpec, found: Mapping[str, np.ndarray]) -> float:
    """Return the share of units that are brought back to where they came from."""
    answer = spec.inverse(spec.random(PLANTED))
    return sum(int((found[name] == perm).sum()) for name, perm in answer.items()) / spec.units


def align(a: Path, b: Path, sizes: dict[str, int], method: str) -> None:
    """Align two files, and print what it took as JSON."""
    spec = symmetries(sizes)
    states = [lmc.load(path).state for path in (a, b)]
    wall, cpu = time.perf_counter(), time.process_time()

    def aligned() -> lmc.AlignmentResult:
        found = lmc.align(*states, spec, method=method)
        found.apply(states[1])
        return found

    found, anonymous = watched(aligned)
    print(
        json.dumps(
            {
                "method": found.method,
                "parameters": sum(tensor.numel() for tensor in states[0].values()),
                "groups": len(spec.groups),
                "found_again": found_again(spec, found.permutation),
                "objective": found.objective,
                "trace": found.trace,
                "converged": found.converged,
                "message": found.message,
                "wall_s": time.perf_counter() - wall,
                "cpu_s": time.process_time() - cpu,
                "threads": torch.get_num_threads(),
                "anonymous_gb": anonymous / GB,
                "resident_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB,
            }
        )
    )


def main() -> None:
    """Generate the pair, and align it in a process that has done nothing else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--align", default="weights?restarts=1", help="method, as lmc align takes it")
    parser.add_argument("--independent", action="store_true", help="weights of B that have nothing of A's")
    parser.add_argument("--depth", type=int, default=SIZES["depth"], help="blocks, for a trial")
    parser.add_argument("--files", type=Path, nargs=2, help="the two files, where they are there already")
    arguments = parser.parse_args()
    sizes = {**SIZES, "depth": arguments.depth}
    if arguments.files:
        align(*arguments.files, sizes, arguments.align)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{seed}.safetensors" for seed in (0, 1)]
        write(files, pair(sizes, arguments.independent))
        options = ["--align", arguments.align, "--depth", str(arguments.depth), "--files", *map(str, files)]
        subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
