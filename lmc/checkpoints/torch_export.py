"""Archives of ``torch.export.save`` (.pt2): a graph with its weights, of which the weights are read."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from lmc.checkpoints.format import Contents, Format, Sample, printable, refuse

_CONFIG = "/data/weights/model_weights_config.json"
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
    29: torch.float8_e4m3fn,
    30: torch.float8_e5m2,
}
"""torch._export.serde.schema.ScalarType, whose numbers are part of the format."""


def _recognises(sample: Sample) -> bool:
    return sample.member(_CONFIG) is not None


def _read(sample: Sample) -> Contents:
    config = sample.member(_CONFIG)
    assert config is not None
    folder = config.filename.removesuffix("model_weights_config.json")
    members = {info.filename: info for info in sample.members}
    storages: dict[str, bytearray] = {}
    state = {}
    try:
        for name, about in json.loads(sample.read_member(config))["config"].items():
            file = folder + about["path_name"]
            if about.get("use_pickle"):
                raise ValueError(f"{name} is pickled")
            if file not in storages:
                storages[file] = bytearray(sample.read_member(members[file]))
            state[name] = _tensor(storages[file], about["tensor_meta"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        what = f"is a torch.export archive whose weights cannot be read ({printable(error)})"
        advice = "Save the weights: torch.save(torch.export.load(FILE).state_dict, 'weights.pt')"
        raise refuse(sample.path, what, advice) from error
    return Contents(state, metadata={"graph": "torch.export"})


def _tensor(storage: bytearray, meta: dict[str, Any]) -> Tensor:
    sizes, strides = ([int(n["as_int"]) for n in meta[key]] for key in ("sizes", "strides"))
    dtype = _DTYPES[meta["dtype"]]
    if not math.prod(sizes):
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(storage, dtype=dtype).as_strided(sizes, strides, int(meta["storage_offset"]["as_int"]))


EXPORT = Format("torch.export", "torch", (), _recognises, _read)
