"""Weights in several files: an index names the shard of each tensor. Also folders with one such set of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from lmc.checkpoints import safetensors_files, torch_files
from lmc.checkpoints.format import Contents, Format, Sample, printable, refuse, take_sample

_SHARDS = (safetensors_files.SAFETENSORS, torch_files.ZIP, torch_files.LEGACY)
_WHOLE = (
    "model.safetensors.index.json",
    "model.safetensors",
    "adapter_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "adapter_model.bin",
)
"""What a Hugging Face folder calls its weights, the first found counts: the order of from_pretrained."""

_LONGEST = 64 * 2**20


def _is_index(sample: Sample) -> bool:
    return sample.head.lstrip()[:1] == b"{" and sample.path.name.endswith(".index.json")


def _is_folder(sample: Sample) -> bool:
    return sample.folder and not {".metadata", "_METADATA"}.intersection(sample.names) and _weights(sample) is not None


def _weights(sample: Sample) -> str | None:
    return next((name for name in _WHOLE if name in sample.names), None)


def _read_index(sample: Sample) -> Contents:
    shards = _weight_map(sample)
    files: dict[str, dict[str, Tensor]] = {}
    used = [sample.path]
    for name in dict.fromkeys(shards.values()):
        path = sample.beside(name)
        if not path.is_file():
            raise refuse(sample.path, f"names the shard {printable(name)}, which is missing", "Copy all shards.")
        files[name] = read_one(path)
        used.append(path)
    lost = [key for key, name in shards.items() if key not in files[name]]
    if lost:
        what = f"names {printable(lost[0])} in {printable(shards[lost[0]])}, which has no such tensor"
        raise refuse(sample.path, what, "Index and shards are of different versions: copy all of them again.")
    return Contents({key: files[name][key] for key, name in shards.items()}, files=tuple(used))


def _weight_map(sample: Sample) -> dict[str, str]:
    if sample.size > _LONGEST:
        raise refuse(sample.path, f"is an index of {sample.size:,} bytes", f"At most {_LONGEST:,} are read.")
    try:
        shards = json.loads(sample.path.read_bytes())["weight_map"]
        if isinstance(shards, dict) and shards and all(isinstance(name, str) for name in shards.values()):
            return shards
        reason = "no map from names to files"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise refuse(sample.path, f"is no index of shards ({printable(reason)})", "Download it again.")


def _read_folder(sample: Sample) -> Contents:
    name = _weights(sample)
    assert name is not None
    inner = take_sample(sample.beside(name))
    if name.endswith(".index.json"):
        contents = _read_index(inner)
    else:
        contents = Contents(read_one(inner.path), files=(inner.path,))
    return Contents(contents.tree, metadata=_configuration(sample), files=contents.files)


def _configuration(sample: Sample) -> dict[str, Any]:
    """Return what the folder's config.json says about the model: plain values, nothing is built from them here."""
    for name in ("config.json", "adapter_config.json"):
        path = sample.beside(name)
        if name in sample.names and path.is_file() and path.stat().st_size < _LONGEST:
            try:
                config = json.loads(path.read_bytes())
            except (ValueError, RecursionError):
                return {}
            return {"config": config} if isinstance(config, dict) else {}
    return {}


def read_one(path: Path) -> dict[str, Tensor]:
    """Read one shard, which has to be a flat state dict."""
    sample = take_sample(path)
    for kind in _SHARDS:
        if not sample.folder and kind.recognises(sample):
            tree = kind.read(sample).tree
            if isinstance(tree, dict) and all(isinstance(value, Tensor) for value in tree.values()):
                return tree
            raise refuse(path, "is a shard that holds more than tensors", "Save it as a plain state dict.")
    raise refuse(path, "is no shard of weights (safetensors or torch)", "Download it again.")


INDEX = Format("sharded", "transformers", (".index.json",), _is_index, _read_index)
FOLDER = Format("Hugging Face folder", "transformers", (), _is_folder, _read_folder)
