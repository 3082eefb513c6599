"""Curves on disk: one file whose tensors carry the number of their bend."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmc._errors import CheckpointError, MismatchError, UsageError, unknown
from lmc._types import StateDict
from lmc.architectures import fit_state
from lmc.checkpoints import Checkpoint, check_usable, load, save
from lmc.interpolation import CURVES, AbstractCurve

_BEND = re.compile(r"(.+)_(\d+)")
_WRAPPER, _COEFFICIENTS = "net.", "coeff_layer."
"""Garipov et al.'s module of a curve: its network, and the buffers that its kind of curve computes with."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def save_curve(path: AbstractCurve, file: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write a curve as safetensors: tensor ``NAME_k`` is NAME at bend k.

    Parameters
    ----------
    path : AbstractCurve
        What to write; a kind of :data:`CURVES`.
    file : path-like
        Ending in ``.safetensors``; replaced only when the new file is complete.
    metadata : mapping, optional
        Plain values, stored under ``lmc`` beside the kind of curve and the number of bends.

    Returns
    -------
    pathlib.Path
        The file.
    """
    state = {f"{name}_{k}": tensor for k, bend in enumerate(path.bends) for name, tensor in bend.items()}
    kind = next(name for name, curve in CURVES.items() if isinstance(path, curve))
    return save(state, file, {"lmc": {**(metadata or {}), "curve": kind, "bends": len(path.bends)}})


def load_curve(file: str | os.PathLike[str] | Checkpoint, module: nn.Module, kind: str | None = None) -> AbstractCurve:
    """Read a curve, of our own or of Garipov et al.'s code.

    Parameters
    ----------
    file : path-like or Checkpoint
        Tensors ``NAME_k`` or ``net.NAME_k``, k the number of the bend from 0. Statistics of BatchNorm without a
        number belong to every bend.
    module : torch.nn.Module
        The network that every bend has to fit, by its names or by order and shape.
    kind : {"bezier", "polygonal"}, optional
        By default what the file records: under ``lmc`` in our own, by the buffers of ``coeff_layer`` in theirs.

    Returns
    -------
    AbstractCurve

    Raises
    ------
    CheckpointError
        If the file holds no curve, or lacks a bend or one of its tensors.
    MismatchError
        If a bend does not fit the network.
    UsageError
        If the kind is unknown, or neither given nor recorded.
    """
    checkpoint = file if isinstance(file, Checkpoint) else load(file)
    check_usable(checkpoint)
    found = _split(checkpoint)
    kind = kind or _recorded(checkpoint)
    if kind is None:
        raise UsageError(
            f"{checkpoint.source} does not say which kind of curve its {len(found)} bends define: "
            "pass --kind bezier or --kind polygonal."
        )
    if kind not in CURVES:
        raise unknown("kind of curve", str(kind), CURVES)
    return CURVES[kind]([fit_state(bend, module, f"{checkpoint.source}, bend {k}") for k, bend in enumerate(found)])


def between(path: AbstractCurve, a: StateDict, b: StateDict, source: str) -> AbstractCurve:
    """Return the curve with A and B themselves as its ends, buffers included.

    Parameters
    ----------
    path : AbstractCurve
        A curve that was trained between A and B.
    a, b : state dict
        The two ends.
    source : str
        Where the curve comes from, for the error.

    Raises
    ------
    MismatchError
        If the curve's ends have other weights; statistics of BatchNorm may differ, a curve has none of its own.
    """
    for end, wanted, bend, label in ((path.ends[0], a, "first", "A"), (path.ends[1], b, "last", "B")):
        wrong = [name for name in wanted if not _statistic(name) and not _same(end[name], wanted[name])]
        if wrong:
            swapped = all(_same(path.ends[0][n], b[n]) for n in b if not _statistic(n))
            raise MismatchError(
                f"{source}: its {bend} bend is not {label} ({wrong[0]!r} differs). "
                + ("A and B are swapped." if swapped else "Pass the two checkpoints that it was trained between.")
            )
    return type(path)([a, *path.bends[1:-1], b])


def _same(x: Tensor, y: Tensor) -> bool:
    dtype = torch.promote_types(x.dtype, y.dtype)
    return torch.equal(x.to(dtype), y.to(dtype))


def _statistic(name: str) -> bool:
    return name.rpartition(".")[2] in _STATISTICS


def _split(checkpoint: Checkpoint) -> list[dict[str, Tensor]]:
    """Sort the tensors by their bends."""
    state = {name: x for name, x in checkpoint.state.items() if not name.startswith(_COEFFICIENTS)}
    ours = "curve" in checkpoint.metadata.get("lmc", {})
    prefix = _WRAPPER if not ours and all(name.startswith(_WRAPPER) for name in state) else ""
    bends: dict[int, dict[str, Tensor]] = {}
    common: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix(prefix)
        if match := _BEND.fullmatch(name):
            bends.setdefault(int(match[2]), {})[match[1]] = tensor
        else:
            common[name] = tensor
    strange = [name for name in common if not _statistic(name)]
    if len(bends) < 2 or strange:
        about = f"{strange[0]!r} carries none" if strange else "there is one bend"
        raise CheckpointError(
            f"{checkpoint.source} holds no curve: tensors of a curve carry the number of their bend (NAME_0, NAME_1, "
            f"...), {about}.\n  lmc curve A B -o curve.safetensors trains a curve."
        )
    _check_complete(bends, checkpoint.source)
    return [{**bends[k], **common} for k in range(len(bends))]


def _check_complete(bends: Mapping[int, Mapping[str, Tensor]], source: str) -> None:
    names = dict.fromkeys(name for bend in bends.values() for name in bend)
    missing = [f"{name}_{k}" for k in range(max(bends) + 1) for name in names if name not in bends.get(k, {})]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise CheckpointError(
            f"{source} is a curve with bends up to {max(bends)}, but lacks {', '.join(missing[:4])}{more}: the file is "
            "not complete. Save it again from the whole curve."
        )


def _recorded(checkpoint: Checkpoint) -> str | None:
    """Return the kind that a file tells."""
    ours = checkpoint.metadata.get("lmc", {}).get("curve")
    if ours is not None:
        return ours
    theirs = {name.removeprefix(_COEFFICIENTS) for name in checkpoint.state if name.startswith(_COEFFICIENTS)}
    return "bezier" if "binom" in theirs else "polygonal" if "range" in theirs else None
