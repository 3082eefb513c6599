"""Files of ``torch.save``: zip archives (torch 1.6 and later) and the legacy stream of pickles before them."""

from __future__ import annotations

import contextlib
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from lmc._errors import CheckpointError
from lmc.checkpoints.allowed import ALLOWED
from lmc.checkpoints.format import Contents, Format, Sample, printable, refuse

_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""torch.serialization.MAGIC_NUMBER as a pickle writes it."""

_EXTENSIONS = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar", ".checkpoint")
_LIGHTNING = "pytorch-lightning_version"


def _is_zip(sample: Sample) -> bool:
    # constants.pkl makes it a TorchScript archive, whose data.pkl holds objects of compiled code.
    return sample.member("/data.pkl") is not None and sample.member("/constants.pkl") is None


def _is_legacy(sample: Sample) -> bool:
    return sample.head.startswith(b"\x80") and _MAGIC in sample.head[:32]


def _read_zip(sample: Sample) -> Contents:
    _check_members(sample)
    tree = unpickle(sample.path, mmap=True)
    return Contents(tree, _versions(tree))


def _read_legacy(sample: Sample) -> Contents:
    tree = unpickle(sample.path, mmap=False)
    return Contents(tree, _versions(tree))


def _check_members(sample: Sample) -> None:
    """Refuse an archive whose members claim more than the file holds: torch stores them uncompressed, side by side."""
    claimed = sum(info.file_size for info in sample.members)
    if claimed > sample.size or any(info.compress_type != zipfile.ZIP_STORED for info in sample.members):
        what = f"is a torch archive with compressed or overlapping members: {claimed:,} bytes in {sample.size:,}"
        advice = "torch.save never writes one. If you packed it yourself, unpack it and pack it with: zip -0 -r"
        raise refuse(sample.path, what, advice)


def unpickle(path: Path, *, mmap: bool = False, stream: IO[bytes] | None = None) -> Any:
    """Load tensors and the allowed classes, nothing else, from a file or from what was read of it."""
    mmap = mmap and not path.name.endswith(".safetensors")  # torch would go by that name; a stream has none
    opened = contextlib.nullcontext(stream) if stream else path.open("rb")
    try:
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings(), opened as source:
            warnings.simplefilter("ignore")  # about pickle protocols and old storages: the reader can do nothing
            return torch.load(path if mmap else source, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # bytes from elsewhere make the unpickler fail in any way there is
        raise _refuse_pickle(path, str(error)) from error


def _refuse_pickle(path: Path, message: str) -> CheckpointError:
    found = re.search(r"GLOBAL (\S+) (?:was not|whose module)", message)
    if found is None:
        reason = printable(message.split("WeightsUnpickler error:")[-1].split("Check the documentation")[0], 160)
        advice = "Download or copy it again; if it is whole, save it anew: torch.save(model.state_dict(), 'weights.pt')"
        return refuse(path, f"is a damaged torch file, cut short or altered ({reason or 'no data'})", advice)
    what = f"holds an object of class {printable(found[1])}, so a whole model or settings beside its weights"
    advice = (
        "Only weights are loaded: making an object can run any code. If you trust the file, then where its class is\n"
        "  known: torch.save(torch.load(FILE, weights_only=False).state_dict(), 'weights.pt')\n"
        "  (or, where it is a dict, save its entry that holds the weights)."
    )
    return refuse(path, what, advice)


def _versions(tree: Any) -> dict[str, str]:
    """Return the versions that a file records; torch itself leaves none."""
    version = tree.get(_LIGHTNING) if isinstance(tree, dict) else None
    return {"lightning": printable(version)} if version else {}


ZIP = Format("torch zip", "torch", _EXTENSIONS, _is_zip, _read_zip)
LEGACY = Format("torch legacy", "torch", _EXTENSIONS, _is_legacy, _read_legacy)
