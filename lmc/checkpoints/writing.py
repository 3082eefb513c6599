"""Writes safetensors files that every strict loader takes.

The library's own writer puts the header's free text in random order, so that equal checkpoints would get unequal
digests, sorts the tensors by name, and refuses tied tensors. The format is simple enough to write directly, one
tensor in memory at a time.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmc._errors import CheckpointError, UsageError
from lmc._files import replacing
from lmc._types import StateDict
from lmc.checkpoints.checkpoint import find_ties
from lmc.checkpoints.safetensors_files import DTYPES, TIES

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save(state: StateDict, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write a state dict as safetensors, keeping names, their order, dtypes and ties.

    Every name gets its own copy of the values, so that ``load_state_dict(strict=True)`` and other tools find all of
    them; which names are one tensor is recorded in the header, and `load` lets them share memory again. Equal input
    gives equal bytes.

    Parameters
    ----------
    state : mapping of str to Tensor
        What to write, on any device; not modified.
    path : path-like
        Where it goes, ending in ``.safetensors``. An existing file is replaced only when the new one is complete.
    metadata : mapping of str to str, optional
        Kept in the header; values that are not strings are stored as JSON. What stands under ``lmc`` (an object) comes
        back as ``metadata["lmc"]``, everything as ``metadata["header"]``.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    UsageError
        If the name does not end in ``.safetensors``: other programs go by it.
    CheckpointError
        If a value is no dense tensor of a type that the format knows.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"Weights are written as safetensors; name the file {path.stem}.safetensors, not {path.name}.")
    for name, tensor in state.items():
        _check_storable(name, tensor, path)
    # Widest elements first keeps every tensor aligned; the header keeps the order of the names.
    order = sorted(state, key=lambda name: -state[name].element_size())
    header = _header(state, order, metadata or {})
    with replacing(path) as partial, partial.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        for name in order:
            stream.write(_bytes(state[name]))
    return path


def _check_storable(name: str, tensor: Tensor, path: Path) -> None:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in _NAMES:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
        raise CheckpointError(f"{path}: tensor {name!r} ({kind}) cannot be stored. Make it a dense number type first.")


def _header(state: StateDict, order: list[str], metadata: Mapping[str, Any]) -> bytes:
    """Return the JSON header, padded so that the tensors begin at a multiple of eight bytes."""
    ties = find_ties(state)
    text = {key: value for key, value in metadata.items() if key != TIES}
    text |= {"format": "pt"} | ({TIES: ties} if ties else {})
    strings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in sorted(text.items())}
    ends, end = {}, 0
    for name in order:
        begin, end = end, end + state[name].numel() * state[name].element_size()
        ends[name] = [begin, end]
    tensors = {
        name: {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": ends[name]}
        for name, tensor in state.items()
    }
    encoded = json.dumps({"__metadata__": strings, **tensors}, separators=(",", ":")).encode()
    return encoded + b" " * (-len(encoded) % 8)


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
