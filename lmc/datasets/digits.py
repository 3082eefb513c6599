"""The handwritten digits that scikit-learn ships: no download, 1,797 images of 8 x 8."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import torch

from lmc.datasets.data import Data

TEST_SIZE = 500


def digits(split: str, data_dir: Path | None) -> Data:
    """Open the digits: 1,297 to train on, 500 to test on.

    The examples are ordered by the SHA-256 of their index in decimal; the first 500 are the test split. The order owes
    nothing to any random generator, so that it is the same with every version of every library.

    References
    ----------
    .. [1] Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, 1998.
    """
    table = torch.from_numpy(np.loadtxt(_file(), delimiter=","))
    images, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64]
    order = sorted(range(len(labels)), key=lambda index: hashlib.sha256(str(index).encode()).digest())
    chosen = torch.tensor(order[:TEST_SIZE] if split == "test" else order[TEST_SIZE:])
    inputs = images[chosen].unsqueeze(1).to(torch.float32) / 16
    return Data(inputs, labels[chosen].to(torch.int64), name="digits", split=split, num_classes=10)


def _file() -> Path:
    """Find scikit-learn's file without importing the package, which takes longer than everything done with it."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None and found.origin is not None, "scikit-learn is a requirement of this package"
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
