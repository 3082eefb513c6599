"""Finds the format of a file, by content first and extension second, and loads it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmc.checkpoints import (
    distributed,
    flax_files,
    keras_files,
    npz_files,
    onnx_files,
    orbax_folders,
    safetensors_files,
    sharded,
    stable_baselines,
    torch_export,
    torch_files,
    torchscript,
)
from lmc.checkpoints.adapters import describe_adapter
from lmc.checkpoints.addresses import locate
from lmc.checkpoints.checkpoint import Checkpoint, find_ties
from lmc.checkpoints.foreign import name_foreign
from lmc.checkpoints.format import Format, Sample, refuse, take_sample
from lmc.checkpoints.trusted import PICKLE, is_pickle, read_trusted
from lmc.checkpoints.unwrap import drop_metrics, strip_prefixes, unwrap

FORMATS: tuple[Format, ...] = (
    safetensors_files.SAFETENSORS,
    torch_files.ZIP,
    torch_files.LEGACY,
    torchscript.TORCHSCRIPT,
    torch_export.EXPORT,
    sharded.INDEX,
    sharded.FOLDER,
    distributed.DISTRIBUTED,
    stable_baselines.STABLE_BASELINES,
    keras_files.KERAS_H5,
    keras_files.KERAS_ARCHIVE,
    flax_files.FLAX,
    orbax_folders.ORBAX,
    onnx_files.ONNX,
    npz_files.NPZ,
)
"""Every format that is read, in the order in which they are asked."""

GROUP = "lmc.formats"
"""Entry point group of further formats."""


def load(
    path: str | os.PathLike[str], *, entry: str | None = None, trust_pickle: bool = False, dequantize: bool = False
) -> Checkpoint:
    """Load the weights of a file, whatever wrote it. No code of the file is run, unless it is trusted.

    Parameters
    ----------
    path : path-like
        A file or folder of any format that is read, under any name, or an address (``hf://org/repo``): see `locate`.
    entry : str, optional
        The dotted name of the entry that holds the weights, where a file has several (``"ema"``).
    trust_pickle : bool
        Unpickle the file, if it is a pickle, whatever is in it: **this runs any code it holds**. A whole pickled module
        then stands for its state dict. The graph of a ``torch.export`` archive is then used as its network.
    dequantize : bool
        Turn quantised tensors into float32, rather than refuse them.

    Returns
    -------
    Checkpoint
        The state dict on the CPU and what is known about it. Zip and safetensors files are mapped into memory, so a
        tensor is read when it is first used; replace such a file (as `save` does) rather than writing into it.

    Raises
    ------
    CheckpointError
        If the file is no checkpoint, is damaged, holds no weights or several sets of them, or would have to run code.
        The message names the file, what it is, and what to do.

    Examples
    --------
    >>> checkpoint = load("runs/3/last.ckpt")  # doctest: +SKIP
    >>> checkpoint  # doctest: +SKIP
    Checkpoint('last.ckpt': 8 tensors, 21,840 parameters, weights under 'state_dict')
    """
    sample = take_sample(locate(path))
    if trust_pickle and is_pickle(sample):
        kind, contents = PICKLE, read_trusted(sample)
    else:
        kind = find_format(sample)
        contents = kind.read(sample)
    found = unwrap(contents.tree, sample.path, entry, dequantize)
    state, stripped = strip_prefixes(found.state)
    state, left_out = drop_metrics(state) if "lightning" in contents.versions else (state, [])
    metadata = {
        "framework": kind.framework,
        "format": kind.name,
        "versions": contents.versions,
        "unwrapped": found.entry,
        "stripped": stripped,
        "recorded": found.recorded,
        "ties": find_ties(state),
        **({"left out": left_out} if left_out else {}),
        **contents.metadata,
    }
    if trust_pickle and contents.metadata.get("graph") == "torch.export":
        metadata["trusted graph"] = os.fspath(sample.path)
    adapter = describe_adapter(state, contents.metadata.get("config", {}))
    metadata |= {"adapter": adapter} if adapter else {}
    return Checkpoint(state, os.fspath(path), _digest(contents.files or (sample.path,)), metadata)


def formats() -> tuple[Format, ...]:
    """Return every format: our own, then those of installed packages (entry points of the group ``lmc.formats``)."""
    return tuple(_formats())


def _formats() -> Iterator[Format]:
    # One by one: to ask for entry points is to read of every installed package, which takes as long as ten small files.
    yield from FORMATS
    for entry in importlib.metadata.entry_points(group=GROUP):
        yield entry.load()


def find_format(sample: Sample) -> Format:
    """Return the format that knows the content; where nothing is known to look so, the extension's."""
    for kind in _formats():
        if kind.recognises(sample):
            return kind
    foreign = name_foreign(sample)
    if foreign is not None:
        raise foreign
    known = formats()
    for kind in known:
        if sample.path.suffix.lower() in kind.extensions:
            return kind
    names = ", ".join(kind.name for kind in known)
    advice = f"These formats are read: {names}. Save the weights: torch.save(model.state_dict(), 'weights.pt')"
    raise refuse(sample.path, "is of no known format", advice)


def _digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file; of several, that of their names and digests, as ``sha256sum`` lists them."""
    digests = {}
    for path in files:
        with path.open("rb") as stream:
            digests[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(digests) == 1:
        return next(iter(digests.values()))
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(listing.encode()).hexdigest()
