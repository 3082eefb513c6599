"""Writes Hugging Face folders: new weights, and everything beside the old ones that is no weight."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.checkpoints.writing import save

_BESIDE = (".json", ".txt", ".model", ".jinja", ".md")
_LONGEST = 64 * 2**20


def save_folder(
    state: StateDict, folder: str | os.PathLike[str], like: str | os.PathLike[str], metadata: Mapping[str, Any]
) -> Path:
    """Write weights as ``model.safetensors`` with the settings of another folder, for ``from_pretrained``.

    Parameters
    ----------
    state : mapping of str to Tensor
        What to write.
    folder : path-like
        A new folder, or an empty one; it appears when it is complete.
    like : path-like
        The folder whose config, tokenizer and other small files are copied.
    metadata : mapping
        As in `save`.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    UsageError
        If the folder holds something.
    """
    folder, like = Path(folder), Path(like)
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent) as parent:
        partial = Path(parent) / folder.name
        partial.mkdir()
        for file in like.iterdir():
            if file.suffix in _BESIDE and not file.name.endswith(".index.json") and file.stat().st_size < _LONGEST:
                shutil.copyfile(file, partial / file.name)
        save(state, partial / "model.safetensors", metadata)
        partial.replace(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Raise UsageError where a folder cannot be written whole."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is no empty folder. Name a new one, or a .safetensors file.")
