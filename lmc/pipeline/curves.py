"""Curves on disk: one file whose tensors carry the number of their bend."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from lmc import schema
from lmc._errors import CheckpointError, MismatchError, unknown
from lmc.architectures import fit_state
from lmc.barriers import measure_barrier
from lmc.checkpoints import Checkpoint, load, save
from lmc.interpolation import CURVES, AbstractCurve, LinearPath, batchnorm_layers

_BEND = re.compile(r"(?:net\.)?(.+)_(\d+)")
"""Garipov et al.'s networks keep their bends under ``net.NAME_k``; ours leave the ``net.`` out."""


def save_curve(path: AbstractCurve, file: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write a curve as safetensors: tensor ``NAME_k`` is NAME at bend k.

    Parameters
    ----------
    path : AbstractCurve
        What to write.
    file : path-like
        Ending in ``.safetensors``.
    metadata : mapping, optional
        Stored under ``lmc`` beside the kind of curve.
    """
    state = {f"{name}_{k}": tensor for k, bend in enumerate(path.bends) for name, tensor in bend.items()}
    kind = next(name for name, curve in CURVES.items() if isinstance(path, curve))
    return save(state, file, {"lmc": {"curve": kind, "bends": len(path.bends), **(metadata or {})}})


def load_curve(file: str | os.PathLike[str] | Checkpoint, module: nn.Module, kind: str | None = None) -> AbstractCurve:
    """Read a curve, of our own or of Garipov et al.'s code.

    Parameters
    ----------
    file : path-like or Checkpoint
        Tensors ``NAME_k`` or ``net.NAME_k``, k the number of the bend from 0.
    module : torch.nn.Module
        The network that every bend has to fit, by its names or by order and shape.
    kind : {"bezier", "polygonal"}, optional
        By default what the file records; files of others do not, and are taken as polygonal chains where they have
        more than three bends, as their code trains them.

    Returns
    -------
    AbstractCurve

    Raises
    ------
    CheckpointError
        If the file holds no bends, or their numbers have gaps.
    MismatchError
        If a bend does not fit the network.
    """
    checkpoint = file if isinstance(file, Checkpoint) else load(file)
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.state.items():
        if match := _BEND.fullmatch(name):
            found.setdefault(int(match[2]), {})[match[1]] = tensor
    if len(found) < 2 or sorted(found) != list(range(len(found))):
        raise CheckpointError(
            f"{checkpoint.source} holds no curve: its tensors do not carry the numbers of bends (NAME_0, NAME_1, ...).\n"
            "  lmc curve A B -o curve.safetensors trains one."
        )
    kind = kind or checkpoint.metadata.get("lmc", {}).get("curve") or ("polygonal" if len(found) > 3 else "bezier")
    if kind not in CURVES:
        raise unknown("curve", str(kind), CURVES)
    bends = [fit_state(found[k], module, f"{checkpoint.source}, bend {k}") for k in sorted(found)]
    return CURVES[kind](bends)


def require_ends(path: AbstractCurve, a: Mapping[str, Tensor], b: Mapping[str, Tensor], source: str) -> None:
    """Raise MismatchError unless a curve runs from A to B."""
    for end, wanted, label in ((path.ends[0], a, "first"), (path.ends[1], b, "last")):
        wrong = [name for name in wanted if not bool((end[name] == wanted[name]).all())]
        if wrong:
            raise MismatchError(
                f"{source}: its {label} bend is not {'A' if label == 'first' else 'B'} ({wrong[0]} differs). Pass the "
                "two checkpoints that it was trained between, in their order."
            )


def measure_curve(
    module: nn.Module,
    path: AbstractCurve,
    data: Any,
    *,
    training: Any = None,
    attrs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Measure a curve and the straight line between its ends, side by side.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    path : AbstractCurve
        The curve.
    data : AbstractData, or whatever as_data takes
        Examples to measure on.
    training : as data, optional
        Where the network has BatchNorm: statistics are reset on these at every position of both paths.
    attrs : mapping, optional
        Provenance to store.
    **settings
        As in :func:`lmc.measure_barrier`.

    Returns
    -------
    xarray.Dataset
        Kind "barrier" of the schema, with the rows ``straight`` and ``curve``.
    """
    paths = {"straight": LinearPath(*path.ends), "curve": path}
    recalibrate = training if batchnorm_layers(module) else None
    dataset = measure_barrier(module, paths, data, recalibrate=recalibrate, attrs=attrs, **settings)
    variable = schema.BARRIER["alignment_message"]
    labels = {"long_name": variable.long_name, "units": variable.units}
    messages = np.array(["the line between the ends", path.description], dtype=str)
    return dataset.assign(alignment_message=("alignment", messages, labels))
