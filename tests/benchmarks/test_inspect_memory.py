"""Two checkpoints of 2 GB each: what inspecting both takes in time and memory, beside reading them once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lmc.checkpoints import save

WIDTH, LAYERS = 8192, 8
GB = 1e9


@pytest.fixture(scope="module", params=["safetensors", "pt"])
def files(request, tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("large"), []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        state = {
            f"fc{i}.{name}": torch.randn(shape, generator=generator)
            for i in range(1, LAYERS + 1)
            for name, shape in (("weight", (WIDTH, WIDTH)), ("bias", (WIDTH,)))
        }
        paths.append(folder / f"{seed}.{request.param}")
        (save if request.param == "safetensors" else torch.save)(state, paths[-1])
    yield paths
    for path in paths:
        path.unlink()


def anonymous(process: subprocess.Popen) -> float:
    """Return a process's memory now, pages of mapped files apart, in bytes."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    return 1024.0 * int(status.split("RssAnon:")[1].split()[0]) if "RssAnon:" in status else 0.0


def test_inspect_of_two_large_files(files):
    start = time.perf_counter()
    for path in files:
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    floor = time.perf_counter() - start
    start, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "lmc", "inspect", *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, anonymous(process))
            time.sleep(0.005)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in files) / GB
    print(
        f"\n{files[0].suffix}: {size:.1f} GB inspected in {seconds:.1f} s, {seconds / floor:.1f} times its SHA-256 "
        f"({floor:.1f} s); {peak / 2**20:.0f} MiB of anonymous memory at most"
    )
    assert process.returncode == 0
    assert 0 < peak < GB
