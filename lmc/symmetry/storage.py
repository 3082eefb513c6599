"""Permutations on disk: an ``.npz`` with one index vector per group, and the axes that each has to move."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc._errors import InputError, UsageError
from lmc._files import replacing
from lmc._types import Permutation
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec

_SPEC = "__spec__"


def save_permutation(
    path: str | os.PathLike[str],
    spec: PermutationSpec,
    permutation: Permutation,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a permutation so that it can be applied later, without the network's code.

    Parameters
    ----------
    path : path-like
        Where it goes, ending in ``.npz``; replaced only when the new file is complete.
    spec : PermutationSpec
        What the permutation is of.
    permutation : mapping of str to array of int
        Group name to index vector.
    metadata : mapping, optional
        Where it came from; plain values.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    UsageError
        If the name does not end in ``.npz``, or the permutation is not one of the spec.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise UsageError(f"Permutations are written as .npz; name the file {path.stem}.npz, not {path.name}.")
    vectors = spec.check(permutation)
    text = json.dumps({**_as_plain(spec), "metadata": dict(metadata or {})}, default=str)
    with replacing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{_SPEC: np.array(text), **vectors})
    return path


def load_permutation(
    path: str | os.PathLike[str],
) -> tuple[PermutationSpec, dict[str, NDArray[np.int64]], dict[str, Any]]:
    """Read a permutation.

    Returns
    -------
    tuple
        The spec (without a graph: it can be applied, not verified), the permutation, the metadata.

    Raises
    ------
    InputError
        If the file is missing, damaged, or no permutation written by this tool.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            plain = json.loads(str(archive[_SPEC]))
            vectors = {name: archive[name] for name in archive.files if name != _SPEC}
        spec = _from_plain(plain)
        return spec, spec.check(vectors), plain["metadata"]
    except FileNotFoundError as error:
        raise InputError(f"No such file: {path}") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{path} holds no permutation ({type(error).__name__}: {error}). "
            "Write one with: lmc align A B --save-permutation perm.npz"
        ) from error


def _as_plain(spec: PermutationSpec) -> dict[str, Any]:
    groups = [
        {
            "name": group.name,
            "size": group.size,
            "axes": [
                [axis.param, axis.dim, None if axis.positions is None else axis.positions.tolist()]
                for axis in group.axes
            ],
        }
        for group in spec.groups
    ]
    shapes = {name: list(shape) for name, shape in spec.shapes.items()}
    return {"groups": groups, "shapes": shapes, "aliases": dict(spec.aliases), "buffers": sorted(spec.buffers)}


def _from_plain(plain: Mapping[str, Any]) -> PermutationSpec:
    shapes = {name: tuple(shape) for name, shape in plain["shapes"].items()}
    groups = []
    for group in plain["groups"]:
        axes = tuple(_axis(shapes, group["size"], *axis) for axis in group["axes"])
        groups.append(PermutationGroup(group["name"], group["size"], axes))
    return PermutationSpec(tuple(groups), shapes, {}, plain["aliases"], frozenset(plain["buffers"]))


def _axis(shapes: Mapping[str, tuple[int, ...]], size: int, param: str, dim: int, positions: Any) -> Axis:
    """Rebuild an axis, refusing one that would move more or less than positions of its dimension."""
    held = np.arange(size)[None] if positions is None else np.asarray(positions, dtype=np.int64)
    extent = shapes[param][dim]
    inside = held.ndim == 2 and held.shape[1] == size and held.min() >= 0 and held.max() < extent
    if not inside or len(np.unique(held)) != held.size or (positions is None and size != extent):
        raise ValueError(f"axis {dim} of {param} does not fit its shape {shapes[param]}")
    return Axis(param, dim, None if positions is None else held)
