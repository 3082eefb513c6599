"""Flax: msgpack files of ``flax.serialization.to_bytes``; and JAX's trees of arrays, in torch's layout and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmc._errors import CheckpointError
from lmc._optional import require
from lmc.checkpoints import layout
from lmc.checkpoints.format import Contents, Format, Sample, printable, refuse

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # flax.serialization's extension types
_CHUNKS = "__msgpack_chunked_array__"
_COLLECTIONS = ("params", "batch_stats", "ema_params", "opt_state", "model", "state")
_SUFFIXES = (".msgpack", ".flax")
_DEPTH = 32


def _recognises(sample: Sample) -> bool:
    # A map whose first key is a short string; legacy pickles and protobuf begin with other bytes.
    head = sample.head
    is_map = bool(head) and (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF))
    start = {0xDE: 3, 0xDF: 5}.get(head[0], 1) if head else 0
    named = len(head) > start and (0xA1 <= head[start] <= 0xBF or head[start] == 0xD9)
    return is_map and named and (sample.path.suffix in _SUFFIXES or head[start + 1 :].startswith(_NAMES))


_NAMES = tuple(name.encode() for name in _COLLECTIONS)


def _read(sample: Sample) -> Contents:
    msgpack = require("msgpack", purpose="reading checkpoints of Flax", extra="jax")

    def extension(code: int, data: bytes) -> Any:
        if code not in (_ARRAY, _SCALAR):
            raise ValueError(f"an extension of kind {code}")
        shape, dtype, buffer = msgpack.unpackb(data, raw=True)
        return _tensor(tuple(shape), dtype.decode(), buffer)

    try:
        data = sample.path.read_bytes()
        tree = msgpack.unpackb(data, ext_hook=extension, raw=False, strict_map_key=False)
        return from_jax(_joined(tree))
    except CheckpointError:
        raise
    except Exception as error:  # msgpack's errors, numpy's and torch's
        what = f"is a damaged or unusual Flax file ({type(error).__name__}: {printable(error)})"
        raise refuse(sample.path, what, "Write it with flax.serialization.to_bytes(params).") from error


def _tensor(shape: tuple[int, ...], dtype: str, buffer: bytes) -> Tensor:
    if dtype == "bfloat16":
        whole = torch.frombuffer(bytearray(buffer), dtype=torch.bfloat16) if buffer else torch.empty(0)
        return whole.reshape(shape)
    if np.dtype(dtype).kind not in "fiubc":
        raise ValueError(f"an array of {dtype}")
    return torch.from_numpy(np.frombuffer(buffer, np.dtype(dtype)).reshape(shape).copy())


def _joined(tree: Any, depth: int = 0) -> Any:
    """Put arrays together that Flax wrote in pieces, since msgpack has a limit of 2 GiB."""
    if not isinstance(tree, dict) or depth > _DEPTH:
        return tree
    if tree.get(_CHUNKS):
        shape = tuple(tree["shape"][str(i)] for i in range(len(tree["shape"])))
        pieces = [tree["chunks"][str(i)] for i in range(len(tree["chunks"]))]
        return torch.cat([piece.reshape(-1) for piece in pieces]).reshape(shape)
    return {str(key): _joined(value, depth + 1) for key, value in tree.items()}


def from_jax(tree: Any) -> Contents:
    """Turn a tree of JAX's parameters into contents in torch's layout and names.

    Collections (``params``, ``batch_stats``) are merged. A dense layer right after convolutions whose inputs are a
    multiple of their channels is taken to follow a flattened image; that is noted.

    Parameters
    ----------
    tree : mapping
        Nested mappings with tensors at their leaves.
    """
    if isinstance(tree, Mapping) and isinstance(tree.get("params"), Mapping) and "params" in tree["params"]:
        tree = tree["params"]  # a TrainState whose params are the variables
    collections = {key: tree[key] for key in ("params", "batch_stats") if isinstance(tree.get(key), Mapping)}
    flat: dict[str, Tensor] = {}
    for part in collections.values() if collections else (tree,):
        flat |= dict(_leaves(part))
    channels: int | None = None
    state: dict[str, Tensor] = {}
    notes: dict[str, Any] = {"transposed": [], "reordered": {}}
    for name in _ordered(flat):
        stem, _, leaf = name.rpartition(".")
        tensor, target = flat[name], f"{stem}.{layout.NAMES.get(leaf, leaf)}".lstrip(".")
        if leaf == "kernel" and tensor.ndim > 1:
            notes["transposed"].append(target)
            turned = torch.movedim(tensor, (-1, -2), (0, 1)).contiguous()
            inputs = tensor.shape[0]
            if tensor.ndim > 2:
                channels = turned.shape[0]
            elif channels and inputs != channels and not inputs % channels:
                order = torch.arange(inputs).reshape(inputs // channels, channels).T.reshape(-1)
                turned, note = turned[:, order], "from (height, width, channel), assumed to follow a flattened image"
                notes["reordered"][target] = note
                channels = None
            tensor = turned
        state[target] = tensor
    return Contents(state, metadata={key: value for key, value in notes.items() if value})


def _leaves(tree: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and depth < _DEPTH:
            yield from _leaves(value, f"{prefix}{key}.", depth + 1)
        elif isinstance(value, Tensor):
            yield prefix + str(key), value


def _ordered(flat: Mapping[str, Tensor]) -> list[str]:
    """Return the names, convolutions before dense layers: JAX sorts by letter, which has lost the order of layers."""
    return sorted(flat, key=lambda name: flat[name].ndim < 3)


FLAX = Format("Flax msgpack", "flax", _SUFFIXES, _recognises, _read)
