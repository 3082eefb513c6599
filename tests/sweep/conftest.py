"""Sweeps over tiny networks: two widths, a few seeds, data of a few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmc import checkpoints
from lmc.architectures import resolve

SWEEP = """
[checkpoints]
paths = ["runs/*/*.safetensors"]
name = "width{width}/seed{seed}.safetensors"

[pairs]
within = "width"

[measure]
data = "d.npz"
data_dir = "."
align = ["none"]
points = 3
"""


def save_run(folder: Path, width: int, seed: int) -> Path:
    """Write a network of random weights, as the trainer would."""
    reference = f"mlp?widths=6,{width},3"
    module = resolve(reference, seed=seed, input_shape=(6,), num_classes=3).module
    path = folder / "runs" / f"width{width}" / f"seed{seed}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.save(module.state_dict(), path, {"lmc": {"model": reference, "training": {"seed": seed}}})
    return path


def save_data(folder: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=draw.normal(size=(40, 6)).astype(np.float32), y=draw.integers(0, 3, 40))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two widths of three seeds, and ``sweep.toml``: 6 units. It is the working folder."""
    monkeypatch.chdir(tmp_path)
    for width in (4, 5):
        for seed in range(3):
            save_run(tmp_path, width, seed)
    save_data(tmp_path)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path
