"""A text file as a set of windows: predict the next character."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lmc._errors import DatasetError
from lmc.datasets.data import Data
from lmc.datasets.fetch import find


def text(path: str, split: str, data_dir: Path | None, *, block: int = 64) -> Data:
    """Open a text file by characters.

    The first 90% are the training split, the last 10% the test split; each is cut into windows of ``block`` characters
    that do not overlap. The alphabet is that of the whole file, sorted, so that both splits number it alike. The target
    at a position is the character after it; the loss of an example is the mean over its window.

    Parameters
    ----------
    path : str
        UTF-8; looked for as it stands, then under ``text/`` in the data folders.
    split : {"train", "test"}
        Which part.
    data_dir : path-like, optional
        A folder of datasets.
    block : int
        Length of a window.

    Raises
    ------
    DatasetError
        If there is no such file, it is not UTF-8, or it is shorter than one window.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        file = find(f"text/{path}", data_dir) or file
    try:
        content = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise DatasetError(f"The text file {path!r} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 text: {error}") from error
    alphabet, codes = np.unique(np.frombuffer(content.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
    edge = len(codes) * 9 // 10
    part = torch.from_numpy(codes[:edge] if split == "train" else codes[edge:]).to(torch.int64)
    count = (len(part) - 1) // block if block > 0 else 0
    if count < 1:
        raise DatasetError(
            f"{file}: {len(part)} characters in split {split!r} make no window of {block} and its targets."
        )
    inputs, targets = (part[shift : shift + count * block].view(count, block) for shift in (0, 1))
    return Data(inputs, targets, name=file.name, split=split, task="tokens", num_classes=len(alphabet))
