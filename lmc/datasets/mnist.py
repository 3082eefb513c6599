"""MNIST and Fashion-MNIST from their idx files, gzipped or not."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import torch

from lmc._errors import DatasetError
from lmc.datasets.data import Data
from lmc.datasets.fetch import Remote, fetch, find

_BASES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist",
    "fashion-mnist": "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
}
_STEMS = {"train": "train", "test": "t10k"}

_PUBLISHED = {
    "mnist/train-images-idx3-ubyte": (
        "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "mnist/train-labels-idx1-ubyte": (
        "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "mnist/t10k-images-idx3-ubyte": (
        "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "mnist/t10k-labels-idx1-ubyte": (
        "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist/train-images-idx3-ubyte": (
        "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "fashion-mnist/train-labels-idx1-ubyte": (
        "md5:25c81989df183df01b3e8a0aad5dffbe",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "fashion-mnist/t10k-images-idx3-ubyte": (
        "md5:bef4ecab320f06d8554ea6380940ec79",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "fashion-mnist/t10k-labels-idx1-ubyte": (
        "md5:bb300cfdad3c16e7a12a480ee83cd310",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
"""Checksum of the gzipped file as published, and SHA-256 of what is in it, the same however it was compressed again."""


def mnist(split: str, data_dir: Path | None) -> Data:
    """Open MNIST: 60,000 to train on, 10,000 to test on, 1 x 28 x 28.

    References
    ----------
    .. [1] LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document Recognition. Proc. IEEE 1998.
    """
    return _open("mnist", split, data_dir)


def fashion_mnist(split: str, data_dir: Path | None) -> Data:
    """Open Fashion-MNIST: 60,000 to train on, 10,000 to test on, 1 x 28 x 28.

    References
    ----------
    .. [1] Xiao, Rasul, Vollgraf. Fashion-MNIST. arXiv:1708.07747, 2017.
    """
    return _open("fashion-mnist", split, data_dir)


def _open(name: str, split: str, data_dir: Path | None) -> Data:
    images, same_images = _read(name, f"{_STEMS[split]}-images-idx3-ubyte", data_dir)
    labels, same_labels = _read(name, f"{_STEMS[split]}-labels-idx1-ubyte", data_dir)
    inputs = torch.from_numpy(images).unsqueeze(1).to(torch.float32) / 255
    notes = () if same_images and same_labels else (f"the files found are not the published ones of {name}",)
    targets = torch.from_numpy(labels).to(torch.int64)
    return Data(inputs, targets, name=name, split=split, num_classes=10, notes=notes)


def _read(name: str, stem: str, data_dir: Path | None) -> tuple[np.ndarray, bool]:
    """Return the array of an idx file, and whether it is the published one."""
    relative = f"{name}/{stem}"
    checksum, published = _PUBLISHED[relative]
    plain = find(relative, data_dir)
    path = plain or fetch(f"{relative}.gz", data_dir, Remote(f"{_BASES[name]}/{stem}.gz", checksum))
    try:
        content = path.read_bytes() if plain else gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Remove it, and it is downloaded again.") from error
    return parse_idx(content, path), hashlib.sha256(content).hexdigest() == published


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Decode an idx file of bytes: magic 0, 0, 8, dims; big-endian sizes; values."""
    dims = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dims
    if content[:3] != b"\x00\x00\x08" or dims not in (1, 3) or len(content) < start:
        raise DatasetError(f"{path} is no idx file of bytes: it begins with {content[:4]!r}.")
    shape = np.frombuffer(content, dtype=">u4", count=dims, offset=4).tolist()
    if len(content) != start + np.prod(shape):
        raise DatasetError(f"{path} says it holds {shape}, but has {len(content) - start} bytes of values.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
