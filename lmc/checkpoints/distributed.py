"""Folders of ``torch.distributed.checkpoint`` (FSDP and others): every rank's pieces, put together again.

The folder's index is a pickle. It is read by an unpickler that makes the index's own records and nothing else, and
only the tensors are taken: what was pickled beside them (epochs, optimizers' settings) is named and left alone.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from lmc._errors import CheckpointError
from lmc.checkpoints.format import Contents, Format, Sample, check_size, printable, refuse
from lmc.checkpoints.restricted import Node, read_pickle
from lmc.checkpoints.torch_files import unpickle

_INDEX = ".metadata"
_LARGEST = 2**31
_RECORDS = "torch.distributed.checkpoint.metadata"


def _table() -> dict[str, Any]:
    """Return what the index may hold; torch's half of it takes half a second to import, so only when needed."""
    from torch.distributed.checkpoint import filesystem
    from torch.distributed.checkpoint import metadata as records

    names = ("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "TensorProperties")
    names += ("ChunkStorageMetadata", "MetadataIndex", "_MEM_FORMAT_ENCODING")
    paths = ("Path", "PosixPath", "PurePosixPath", "WindowsPath")
    return {
        **{f"{_RECORDS}.{name}": getattr(records, name) for name in names},
        f"{_RECORDS}.StorageMeta": Node,
        "torch.distributed.checkpoint.filesystem._StorageInfo": filesystem._StorageInfo,
        **{str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
        "torch.Size": torch.Size,
        "torch.serialization._get_layout": lambda name: name,
        "collections.OrderedDict": OrderedDict,
        **{f"{module}.{name}": PurePath for module in ("pathlib", "pathlib._local") for name in paths},
    }


def _recognises(sample: Sample) -> bool:
    return sample.folder and _INDEX in sample.names and any(name.endswith(".distcp") for name in sample.names)


def _read(sample: Sample) -> Contents:
    index = read_pickle((sample.path / _INDEX).read_bytes(), sample.path / _INDEX, _table())
    try:
        tensors = {k: v for k, v in index.state_dict_metadata.items() if hasattr(v, "chunks")}
        infos = {(found.fqn, tuple(found.offset or ())): info for found, info in index.storage_data.items()}
        flat = {name: _assemble(sample, name, about, infos) for name, about in tensors.items()}
        tree = _nested(flat, index.planner_data)
        left = sorted(name for name in index.state_dict_metadata if name not in tensors)
        files = sorted({sample.beside(info.relative_path) for info in infos.values()})
    except CheckpointError:
        raise
    except Exception as error:  # the records hold whatever the pickle put there
        what = f"is a distributed checkpoint whose index cannot be followed ({type(error).__name__}: {error})"
        raise refuse(sample.path, what, "Copy the whole folder again.") from error
    metadata = {"left out": left[:64]} if left else {}
    return Contents(tree, metadata=metadata, files=(sample.path / _INDEX, *files))


def _assemble(sample: Sample, name: str, about: Any, infos: dict[tuple[str, tuple[int, ...]], Any]) -> Tensor:
    """Put the pieces of one tensor in their places."""
    whole, pieces = None, 0
    for chunk in about.chunks:
        offsets = tuple(chunk.offsets)
        piece = _piece(sample, infos[name, offsets])
        if tuple(piece.shape) != tuple(chunk.sizes) or piece.dtype != about.properties.dtype:
            raise ValueError(f"{name} is {tuple(piece.shape)}, the index says {tuple(chunk.sizes)}")
        if tuple(chunk.sizes) == tuple(about.size):
            return piece
        if whole is None:
            whole = torch.empty(tuple(about.size), dtype=piece.dtype)
        whole[tuple(slice(o, o + n) for o, n in zip(offsets, piece.shape, strict=True))] = piece
        pieces += piece.numel()
    if whole is None or pieces != whole.numel():
        raise ValueError(f"pieces of {name} are missing")
    return whole


def _piece(sample: Sample, info: Any) -> Tensor:
    path: Path = sample.beside(info.relative_path)
    check_size(path, int(info.length), path.stat().st_size, info.relative_path)
    with path.open("rb") as stream:
        stream.seek(int(info.offset))
        data = stream.read(min(int(info.length), _LARGEST))
    tensor = unpickle(path, stream=io.BytesIO(data))
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{printable(info.relative_path)} holds a {type(tensor).__name__}")
    return tensor.detach()


def _nested(flat: dict[str, Tensor], paths: Any) -> dict[str, Any]:
    """Restore the nesting that the index records; names that hold dots stay whole."""
    tree: dict[str, Any] = {}
    for name, tensor in flat.items():
        *parents, leaf = paths.get(name, (name,)) if isinstance(paths, dict) else (name,)
        node = tree
        for parent in parents:
            node = node.setdefault(str(parent), {})
        node[str(leaf)] = tensor
    return tree


DISTRIBUTED = Format("torch.distributed.checkpoint", "torch", (), _recognises, _read)
