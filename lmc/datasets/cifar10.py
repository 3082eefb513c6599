"""CIFAR-10 from its binary version: the other one is a pickle."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import torch

from lmc._errors import DatasetError
from lmc.datasets.data import Data
from lmc.datasets.fetch import Remote, fetch, find, missing

_FOLDER = "cifar-10-batches-bin"
_FOLDERS = ("cifar10", f"cifar10/{_FOLDER}", _FOLDER)
_ARCHIVE = "cifar10/cifar-10-binary.tar.gz"
_REMOTE = Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530")
_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_RECORD = 1 + 3 * 32 * 32
_FIRST_4000 = "cifar10-4k/first4000.npz"


def cifar10(split: str, data_dir: Path | None) -> Data:
    """Open CIFAR-10: 50,000 to train on, 10,000 to test on, 3 x 32 x 32.

    References
    ----------
    .. [1] Krizhevsky. Learning Multiple Layers of Features from Tiny Images. 2009.
    """
    parts = []
    for name in _FILES[split]:
        found = next(filter(None, (find(f"{folder}/{name}", data_dir) for folder in _FOLDERS)), None)
        parts.append(_records(found.read_bytes(), str(found)) if found else _from_archive(name, data_dir))
    records = torch.from_numpy(np.concatenate(parts))
    inputs = records[:, 1:].reshape(-1, 3, 32, 32).to(torch.float32) / 255
    return Data(inputs, records[:, 0].to(torch.int64), name="cifar10", split=split, num_classes=10)


def cifar10_4k(split: str, data_dir: Path | None) -> Data:
    """Open the first 4,000 training images of CIFAR-10; there is no test split, whatever is asked for."""
    path = find(_FIRST_4000, data_dir)
    if path is None:
        raise missing(
            _FIRST_4000, data_dir, "It cannot be downloaded: arrays images (4000, 32, 32, 3) and labels, uint8."
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read as images and labels: {error}") from error
    inputs = torch.from_numpy(images).movedim(-1, 1).to(torch.float32).contiguous() / 255
    note = "training images: accuracies here say nothing about unseen ones"
    targets = torch.from_numpy(labels.astype(np.int64))
    return Data(inputs, targets, name="cifar10-4k", split="train", num_classes=10, notes=(note,))


def _from_archive(name: str, data_dir: Path | None) -> np.ndarray:
    path = fetch(_ARCHIVE, data_dir, _REMOTE)
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile(f"{_FOLDER}/{name}")
            content = member.read() if member else b""
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise DatasetError(
            f"{path} has no readable {_FOLDER}/{name} ({error}). Remove it, and download it again."
        ) from error
    return _records(content, f"{path}, {name}")


def _records(content: bytes, source: str) -> np.ndarray:
    if not content or len(content) % _RECORD:
        raise DatasetError(f"{source}: {len(content)} bytes are not a whole number of records of {_RECORD}.")
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, _RECORD)
