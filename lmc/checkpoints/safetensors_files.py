"""Safetensors files: an eight-byte length, a JSON header, the bytes of the tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from lmc.checkpoints.checkpoint import share_ties
from lmc.checkpoints.format import Contents, Format, Sample, printable, refuse

TIES = "lmc_ties"
"""Header entry that lists the names that share one tensor."""

LMC = "lmc"
"""Header entry with what this tool knows about the weights, as a JSON object."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Name of an element type in the header to torch's."""

_LONGEST_HEADER = 100_000_000  # the format's own limit
_AGAIN = "Download or copy it again."


def _recognises(sample: Sample) -> bool:
    # A length beyond 2**48 bytes is text that happens to have a brace in the ninth place.
    return len(sample.head) > 8 and sample.head[8:9] == b"{" and _header_length(sample) < 2**48


def _header_length(sample: Sample) -> int:
    return struct.unpack("<Q", sample.head[:8])[0] if len(sample.head) >= 8 else 0


def _read(sample: Sample) -> Contents:
    header = _read_header(sample)
    strings = header.pop("__metadata__", {})
    tensors = _read_tensors(sample.path, list(header))
    tensors = share_ties(tensors, _ties(strings.get(TIES)))
    metadata: dict[str, Any] = {"header": strings}
    lmc = _parse(strings.get(LMC))
    if isinstance(lmc, dict):
        metadata["lmc"] = lmc
    return Contents(tensors, metadata=metadata)


def _read_header(sample: Sample) -> dict[str, Any]:
    """Read the header after checking its length, and check its shape."""
    length = _header_length(sample)
    if not 2 <= length <= min(sample.size - 8, _LONGEST_HEADER):
        what = f"claims a safetensors header of {length:,} bytes in a file of {sample.size:,}"
        raise refuse(sample.path, f"{what} (at most {_LONGEST_HEADER:,} are allowed)", _AGAIN)
    with sample.path.open("rb") as stream:
        stream.seek(8)
        text = stream.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
        strings = header.get("__metadata__", {})
        objects = all(isinstance(entry, dict) for entry in header.values())
        if objects and all(isinstance(value, str) for value in strings.values()):
            return header
        reason = "an entry is of the wrong type"
    except (ValueError, AttributeError, RecursionError) as error:
        reason = printable(error)
    raise refuse(sample.path, f"is a safetensors file with a damaged header ({reason})", _AGAIN)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object, refusing repeated names: which of two would count is anyone's guess."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _read_tensors(path: Path, names: list[str]) -> dict[str, Tensor]:
    """Map the tensors into memory in the header's order; the library checks every type, shape and offset."""
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as stream:
            return {name: stream.get_tensor(name) for name in names}
    except Exception as error:  # the library raises its own error, torch's and Python's
        raise refuse(path, f"is a damaged safetensors file ({printable(error, 160)})", _AGAIN) from error


def _ties(text: str | None) -> list[list[str]]:
    """Return the recorded groups of names; what is no list of names is passed over."""
    groups = _parse(text)
    lists = [names for names in groups if isinstance(names, list)] if isinstance(groups, list) else []
    return [[name for name in names if isinstance(name, str)] for names in lists]


def _parse(text: str | None) -> Any:
    """Return what a header entry holds as JSON, None where it is absent or no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


SAFETENSORS = Format("safetensors", "safetensors", (".safetensors",), _recognises, _read)
