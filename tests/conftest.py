"""Shared fixtures: the checkpoints and datasets of other people, where they are present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported, as the command line does it: threads that spin long starve whatever else runs here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
if "PYTEST_XDIST_WORKER" in os.environ:  # each core has a worker of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("lmc", deadline=None)
settings.load_profile("lmc")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared checkpoints and datasets; skips, naming what is missing, where there is none."""
    named = os.environ.get("LMC_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "checkpoints").is_dir():
        pytest.skip(f"shared checkpoints are missing: no folder {folder / 'checkpoints'} (set LMC_SHARED_DATA)")
    return folder
