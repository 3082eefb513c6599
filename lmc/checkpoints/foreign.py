"""Names the files that are no checkpoint, or one of a kind that is not read, and says what to do about each."""

from __future__ import annotations

import io
import pickletools

from lmc._errors import CheckpointError
from lmc.checkpoints.format import Sample, printable, refuse

_AGAIN = "Download or copy it again and compare its size with the original's."
_STATE_DICT = "torch.save(model.state_dict(), 'weights.pt')"

_DEEPSPEED = frozenset({"zero_to_fp32.py", "mp_rank_00_model_states.pt"})

_HEADS = (
    (
        b"version https://git-lfs",
        "is a git-lfs pointer, not the file it stands for",
        "Run 'git lfs pull' in its repository, or download the file itself.",
    ),
    (b"\x93NUMPY", "is a single NumPy array", f"Save a whole state dict: {_STATE_DICT}"),
    (b"GGUF", "is a GGUF file, a format that is not read", "Use the safetensors or torch file it was made from."),
    (b"\x1f\x8b", "is compressed with gzip", "Unpack it first: gunzip, or tar -xzf."),
)
"""First bytes, what they mean, what to do."""

_MEMBERS = (
    (
        "/attributes.pkl",
        "is a TorchScript archive from before torch 1.1, which today's torch cannot open",
        "Open it with torch.jit.load in torch 1.0 and save its state_dict(), or save the model again.",
    ),
    (
        "archive_format",
        "is an archive of torch.export of an older layout, which is not read",
        "Save the weights: torch.save(torch.export.load(FILE).state_dict, 'weights.pt')",
    ),
)
"""Ending of an archive's member, what such an archive is, what to do."""


def name_foreign(sample: Sample) -> CheckpointError | None:
    """Return the error for a file of a known kind that is no readable checkpoint, None for an unknown kind."""
    if sample.folder:
        if _DEEPSPEED.intersection(sample.names) or any(name.startswith("global_step") for name in sample.names):
            advice = "Join its parts with the script beside them: python zero_to_fp32.py . weights.bin"
            return refuse(sample.path, "is a DeepSpeed ZeRO folder, whose weights lie in parts", advice)
        held = f" It holds: {printable(', '.join(sample.names), 200)}" if sample.names else " It holds no file."
        return refuse(sample.path, "is a folder without a checkpoint of a known kind", f"Name one file in it.{held}")
    for start, what, advice in _HEADS:
        if sample.head.startswith(start):
            return refuse(sample.path, what, advice)
    if sample.is_zip:
        return _name_zip(sample)
    if sample.head[:1] == b"\x80" and sample.head[1:2] in b"\x02\x03\x04\x05":  # then comes the protocol
        return _name_pickle(sample)
    if sample.head[257:262] == b"ustar":
        return refuse(sample.path, "is a tar archive", "Unpack it first (tar -xf) and name the file in it.")
    return _name_text(sample)


def _name_zip(sample: Sample) -> CheckpointError:
    if not sample.members:
        return refuse(sample.path, "is a damaged zip archive, most likely cut short", _AGAIN)
    for ending, what, advice in _MEMBERS:
        if sample.member(ending):
            return refuse(sample.path, what, advice)
    names = printable(", ".join(info.filename for info in sample.members[:5]), 200)
    return refuse(sample.path, f"is a zip archive without a checkpoint ({names})", "Unpack it and name the file in it.")


def _name_pickle(sample: Sample) -> CheckpointError:
    found = _first_class(sample.head)
    held = f" (its first object: {printable(found)})" if found else ""
    with sample.path.open("rb") as stream:
        stream.seek(-1, io.SEEK_END)
        cut = "" if stream.read(1) == b"." else ", cut short"  # a pickle ends with a full stop
    what = f"is a Python pickle{held}{cut}, not written by torch.save"
    return refuse(sample.path, what, f"Pickles are not opened: they can run any code. Save a state dict: {_STATE_DICT}")


def _first_class(head: bytes) -> str | None:
    """Name the first class or function a pickle refers to, from its opcodes alone."""
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(head):
            if opcode.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if opcode.name == "STACK_GLOBAL":
                return ".".join(strings[-2:])
            if isinstance(argument, str):
                strings.append(argument)
    except Exception:  # the head of a pickle ends anywhere, and may be no pickle at all
        return None
    return None


def _name_text(sample: Sample) -> CheckpointError | None:
    try:
        text = sample.head.decode().lstrip().lower()
    except UnicodeDecodeError as error:
        if error.start < len(sample.head) - 4:  # otherwise only the last character was cut
            return None
        text = sample.head[: error.start].decode().lstrip().lower()
    if "\0" in text:
        return None
    if text.startswith(("<!doctype html", "<html")):
        advice = "Download it again from the link to the raw file; a login or consent page came instead."
        return refuse(sample.path, "is an HTML page, not the file behind it", advice)
    return refuse(sample.path, f"is a text file ({printable(text, 40)!r})", "Name the file that holds the weights.")
