"""The handwritten digits that scikit-learn ships: no download, 1,797 images of 8 x 8."""

from __future__ import annotations

import hashlib
from pathlib import Path

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
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = torch.from_numpy(bunch.images), torch.from_numpy(bunch.target)  # type: ignore[union-attr]
    order = sorted(range(len(labels)), key=lambda index: hashlib.sha256(str(index).encode()).digest())
    chosen = torch.tensor(order[:TEST_SIZE] if split == "test" else order[TEST_SIZE:])
    inputs = images[chosen].unsqueeze(1).to(torch.float32) / 16
    return Data(inputs, labels[chosen].to(torch.int64), name="digits", split=split, num_classes=10)
