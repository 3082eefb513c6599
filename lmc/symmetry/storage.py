"""Permutations on disk: an ``.npz`` with one index vector per group, and the axes that each has to move."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmc._errors import InputError, UsageError
from lmc._files import replacing
from lmc._types import Permutation
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec

_SPEC = "__spec__"
_GROUP = "group:"


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
    keyed = {_GROUP + name: vector for name, vector in vectors.items()}  # a group may have any name, "file" too
    with replacing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{_SPEC: np.array(text), **keyed})
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
            vectors = {name.removeprefix(_GROUP): archive[name] for name in archive.files if name != _SPEC}
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
            "over": [list(outer) for outer in group.over],
            "axes": [_plain_axis(axis) for axis in group.axes],
        }
        for group in spec.groups
    ]
    shapes = {name: list(shape) for name, shape in spec.shapes.items()}
    return {"groups": groups, "shapes": shapes, "aliases": dict(spec.aliases), "buffers": sorted(spec.buffers)}


def _plain_axis(axis: Axis) -> list[Any]:
    positions = None if axis.positions is None else axis.positions.tolist()
    return [axis.param, axis.dim, positions, None if axis.given is None else [axis.given[0], axis.given[1].tolist()]]


def _from_plain(plain: Mapping[str, Any]) -> PermutationSpec:
    shapes = {name: tuple(shape) for name, shape in plain["shapes"].items()}
    groups = []
    for group in plain["groups"]:
        over = tuple((name, int(size)) for name, size in group["over"])
        bare = PermutationGroup(group["name"], group["size"], (), over)
        axes = tuple(_axis(shapes, bare, *axis) for axis in group["axes"])
        groups.append(replace(bare, axes=axes))
    return PermutationSpec(tuple(groups), shapes, {}, plain["aliases"], frozenset(plain["buffers"]))


def _axis(shapes: Mapping[str, tuple[int, ...]], group: PermutationGroup, param: str, dim: int, *where: Any) -> Axis:
    """Rebuild an axis, refusing one that would move more or less than positions of its dimension."""
    positions, given = where
    extent = shapes[param][dim]
    held = np.arange(group.size)[None, None] if positions is None else np.asarray(positions, dtype=np.int64)
    blocks = 1 if given is not None else group.blocks
    inside = held.ndim == 3 and held.shape[::2] == (blocks, group.size) and held.min() >= 0 and held.max() < extent
    if not inside or len(np.unique(held)) != held.size or (positions is None and group.units != extent):
        raise ValueError(f"axis {dim} of {param} does not fit its shape {shapes[param]}")
    if given is None:
        return Axis(param, dim, None if positions is None else held)
    owners = np.asarray(given[1], dtype=np.int64)
    if given[0] == dim or owners.shape != (shapes[param][given[0]],) or set(owners) != set(range(group.blocks)):
        raise ValueError(f"axis {dim} of {param} does not fit its shape {shapes[param]}")
    return Axis(param, dim, held, (int(given[0]), owners))
