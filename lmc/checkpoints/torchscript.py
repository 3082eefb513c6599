"""TorchScript archives: code with weights. The weights are read; the code is not compiled or run."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lmc.checkpoints.format import Contents, Format, Sample, refuse
from lmc.checkpoints.restricted import TENSORS, Node, read_pickle

_LISTS = {
    f"torch.jit._pickle.{name}": lambda values, *_: values
    for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
}


def _recognises(sample: Sample) -> bool:
    return sample.member("/constants.pkl") is not None and sample.member("/data.pkl") is not None


def _read(sample: Sample) -> Contents:
    pickled = sample.member("/data.pkl")
    assert pickled is not None
    folder = pickled.filename.removesuffix("data.pkl")
    members = {info.filename: info for info in sample.members}
    storages: dict[str, Tensor] = {}

    def storage(pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        if key not in storages:
            storages[key] = _storage(sample, members.get(f"{folder}data/{key}"), dtype)
        return storages[key]

    table = TENSORS | _LISTS
    root = read_pickle(sample.read_member(pickled), sample.path, table, ("__torch__.",), storage)
    return Contents(dict(_tensors(root)), metadata={"graph": "torchscript"})


def _storage(sample: Sample, info: zipfile.ZipInfo | None, dtype: torch.dtype) -> Tensor:
    if info is None:
        raise refuse(sample.path, "is a TorchScript archive without some of its weights", "Copy it again.")
    return torch.frombuffer(bytearray(sample.read_member(info)), dtype=dtype) if info.file_size else torch.empty(0)


def _tensors(node: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an object and of what it holds, named as ``state_dict`` names them."""
    if isinstance(node, Node) and depth < 64:
        for name, value in vars(node).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            else:
                yield from _tensors(value, f"{prefix}{name}.", depth + 1)


TORCHSCRIPT = Format("TorchScript", "torch", (), _recognises, _read)
