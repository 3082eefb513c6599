"""Permutation specs as TOML: for people to read, to correct, and to write where a network cannot be traced."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError, did_you_mean
from lmc._files import replacing
from lmc.symmetry.export import tied
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec

_HEADER = """\
# Permutation groups, read by --spec. Units of a group change places with each other, in every axis at once.
# An axis is "name[dim]" where the group is the whole dimension; else a table {param, dim, start, strides}: unit e of
# copy c in block b lies at start + b * strides[0] + c * strides[1] + e * strides[2], `copies` says how many copies
# there are; or {param, dim, positions}, nested lists [block][copy][unit]. `over` names the outer groups (heads) whose
# every index has a permutation of its own; `given = {dim, blocks}` tells blocks apart along another dimension.
# A group replaces the found one of its name; `remove = true` drops that; `alone = true` at the top drops all.
"""


def write_spec(path: str | os.PathLike[str], spec: PermutationSpec) -> Path:
    """Write the groups of a spec as TOML.

    Parameters
    ----------
    path : path-like
        Replaced as a whole when the text is complete.
    spec : PermutationSpec
        As found, or as read.

    Returns
    -------
    Path
        The path.
    """
    return _write(path, "\n".join([_HEADER, *map(_group_text, spec.groups)]))


def write_form(path: str | os.PathLike[str], model: nn.Module) -> Path:
    """Write a form for a network whose symmetries could not be found: every tensor and its shape, as comments."""
    tensors = [f"#   {name}  {list(tensor.shape)}" for name, tensor in _tensors(model).items()]
    example = '# [[group]]\n# name = "hidden"\n# size = 8\n# axes = ["fc1.weight[0]", "fc1.bias[0]", "fc2.weight[1]"]\n'
    return _write(path, "\n".join([_HEADER, "alone = true", "", "# The tensors:", *tensors, "", "# A group:", example]))


def read_spec(path: str | os.PathLike[str], model: nn.Module, found: PermutationSpec | None = None) -> PermutationSpec:
    """Read a TOML spec.

    Parameters
    ----------
    path : path-like
        What ``write_spec`` wrote, or a person.
    model : torch.nn.Module
        The network it belongs to.
    found : PermutationSpec, optional
        What was found in the network; groups of the file replace those of the same name, the others are kept.

    Returns
    -------
    PermutationSpec
        To be verified like any other.

    Raises
    ------
    UsageError
        For text that is no TOML, unknown keys, tensors or groups, dimensions and positions out of range, and axes that
        two groups would move.
    """
    where = Path(path)
    try:
        table = tomllib.loads(where.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{where} cannot be read as a TOML spec: {error}.") from error
    _known(where, "the file", table, ("alone", "group"))
    shapes = {name: tuple(tensor.shape) for name, tensor in _tensors(model).items()}
    groups = {} if table.get("alone") or found is None else {group.name: group for group in found.groups}
    for entry in table.get("group", []):
        reader = _Reader(where, entry, shapes)
        name = reader.name
        if entry.get("remove"):
            if name not in groups:
                raise reader.error(f"is to be removed, but there is none.{did_you_mean(name, groups)}")
            del groups[name]
        else:
            groups[name] = reader.group()
    ordered = sorted(groups.values(), key=lambda group: len(group.over))
    _check_outer(where, ordered)
    _check_apart(where, ordered, shapes)
    buffers = frozenset(name for name, _ in model.named_buffers())
    frozen = found.frozen if found is not None else {}
    return PermutationSpec(tuple(ordered), shapes, frozen, tied(model), buffers, found.exported if found else None)


def _write(path: str | os.PathLike[str], text: str) -> Path:
    with replacing(Path(path)) as partial:
        partial.write_text(text.rstrip() + "\n", encoding="utf-8")
    return Path(path)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}


def _group_text(group: PermutationGroup) -> str:
    lines = [
        "[[group]]",
        f"name = {json.dumps(group.name)}",
        f"size = {group.size}",
        f"kind = {json.dumps(group.kind)}",
    ]
    if group.over:
        outer = (f"{{{f'group = {json.dumps(name)}, ' if name else ''}size = {size}}}" for name, size in group.over)
        lines.append(f"over = [{', '.join(outer)}]")
    return "\n".join([*lines, "axes = [", *(f"  {_axis_text(axis)}," for axis in group.axes), "]", ""])


def _axis_text(axis: Axis) -> str:
    if axis.positions is None:
        return json.dumps(f"{axis.param}[{axis.dim}]")
    parts = [f"param = {json.dumps(axis.param)}", f"dim = {axis.dim}"]
    held = axis.positions
    start = int(held[0, 0, 0])
    strides = [int(np.take(held, [1], d).ravel()[0]) - start if held.shape[d] > 1 else 0 for d in range(3)]
    if np.array_equal(held, _laid(start, strides, held.shape)):
        parts += [f"start = {start}", f"strides = {strides}", f"copies = {held.shape[1]}"]
    else:
        parts.append(f"positions = {held.tolist()}")
    if axis.given is not None:
        parts.append(f"given = {{dim = {axis.given[0]}, blocks = {axis.given[1].tolist()}}}")
    return f"{{{', '.join(parts)}}}"


def _laid(start: int, strides: Sequence[int], shape: Sequence[int]) -> NDArray[np.int64]:
    steps = [stride * np.arange(count) for stride, count in zip(strides, shape, strict=True)]
    return start + steps[0][:, None, None] + steps[1][:, None] + steps[2]


def _known(where: Path, what: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in table:
        if key not in keys:
            raise UsageError(f"{where}: {what} has an unknown entry {key!r}.{did_you_mean(key, keys)}")


class _Reader:
    """Reads one group, naming it in every complaint."""

    def __init__(self, where: Path, entry: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.where, self.entry, self.shapes = where, entry, shapes
        self.name = str(entry.get("name", ""))
        if not self.name:
            raise UsageError(f'{where}: a group has no name. Write name = "..." under every [[group]].')
        _known(where, f"group {self.name!r}", entry, ("name", "size", "kind", "over", "axes", "remove"))

    def error(self, text: str) -> UsageError:
        return UsageError(f"{self.where}: group {self.name!r} {text}")

    def group(self) -> PermutationGroup:
        size = self.entry.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 2:
            raise self.error(f"needs a size of 2 or more, got {size!r}.")
        over = tuple(self._outer(one) for one in self.entry.get("over", []))
        axes = self.entry.get("axes")
        if not isinstance(axes, list) or not axes:
            raise self.error('needs axes = ["name[dim]", ...].')
        blank = PermutationGroup(self.name, size, (), over, str(self.entry.get("kind", "units")))
        return PermutationGroup(blank.name, size, tuple(self._axis(one, blank) for one in axes), over, blank.kind)

    def _outer(self, one: Any) -> tuple[str | None, int]:
        if not isinstance(one, dict) or not isinstance(one.get("size"), int) or set(one) - {"group", "size"}:
            raise self.error(f'has an outer group {one!r}; write {{group = "heads", size = 12}}.')
        return one.get("group"), one["size"]

    def _axis(self, one: Any, group: PermutationGroup) -> Axis:
        table = self._parsed(one)
        param, dim = str(table.get("param")), table.get("dim")
        if param not in self.shapes:
            raise self.error(
                f"names a tensor {param!r} that the network has not.{did_you_mean(str(param), self.shapes)}"
            )
        shape = self.shapes[param]
        if not isinstance(dim, int) or not 0 <= dim < len(shape):
            raise self.error(f"names dimension {dim!r} of {param!r}, which has {len(shape)} (shape {list(shape)}).")
        if {"start", "positions"}.isdisjoint(table):
            if shape[dim] != group.size or group.over:
                text = (
                    f"has {group.size} units{' in blocks' if group.over else ''}, {param}[{dim}] has size {shape[dim]}"
                )
                raise self.error(f"{text}: say where they lie (start and strides, or positions).")
            return Axis(param, dim)
        return Axis(param, dim, self._positions(table, group, shape[dim]), self._given(table, group, shape))

    def _parsed(self, one: Any) -> Mapping[str, Any]:
        if isinstance(one, str):
            param, bracket, dim = one.partition("[")
            if not bracket or not dim.endswith("]") or not dim[:-1].isdigit():
                raise self.error(f'has an axis {one!r}; write it as "fc1.weight[0]".')
            return {"param": param, "dim": int(dim[:-1])}
        if not isinstance(one, dict):
            raise self.error(f'has an axis {one!r}; write "fc1.weight[0]" or a table.')
        _known(
            self.where,
            f"an axis of group {self.name!r}",
            one,
            ("param", "dim", "start", "strides", "copies", "positions", "given"),
        )
        return one

    def _positions(self, table: Mapping[str, Any], group: PermutationGroup, room: int) -> NDArray[np.int64]:
        label = f"{table['param']}[{table['dim']}]"
        blocks = 1 if "given" in table else group.blocks
        try:
            if "positions" in table:
                held = np.array(table["positions"], dtype=np.int64)
            else:
                shape = (blocks, int(table.get("copies", 1)), group.size)
                held = _laid(int(table["start"]), [int(n) for n in table.get("strides", (0, 0, 1))], shape)
        except (TypeError, ValueError) as error:
            raise self.error(f"has positions in {label} that cannot be read: {error}.") from error
        if held.ndim != 3 or held.shape[0] != blocks or held.shape[2] != group.size:
            raise self.error(
                f"needs positions of shape [{blocks}, copies, {group.size}] in {label}, got {list(held.shape)}."
            )
        if held.min() < 0 or held.max() >= room:
            raise self.error(f"lies at {held.min()} to {held.max()} in {label}, which has positions 0 to {room - 1}.")
        if len(np.unique(held)) < held.size:
            raise self.error(f"lies twice at the same position of {label}.")
        return held

    def _given(
        self, table: Mapping[str, Any], group: PermutationGroup, shape: tuple[int, ...]
    ) -> tuple[int, NDArray[np.int64]] | None:
        given = table.get("given")
        if given is None:
            return None
        try:
            dim, blocks = int(given["dim"]), np.array(given["blocks"], dtype=np.int64)
            counts = np.bincount(blocks, minlength=group.blocks)
            fits = dim != table["dim"] and blocks.shape == (shape[dim],) and len(set(counts)) == 1
        except (KeyError, TypeError, ValueError, IndexError):
            fits = False
        if not fits or len(counts) != group.blocks:
            raise self.error(
                f"needs given = {{dim, blocks}} with a block of 0..{group.blocks - 1} for every position of another "
                f"dimension of {table['param']!r} (shape {list(shape)}), each equally often."
            )
        return dim, blocks


def _check_outer(where: Path, groups: Sequence[PermutationGroup]) -> None:
    sizes = {group.name: group.size for group in groups}
    for group in groups:
        for name, size in group.over:
            if name is not None and sizes.get(name) != size:
                held = f"has {sizes[name]} units" if name in sizes else f"is missing.{did_you_mean(name, sizes)}"
                raise UsageError(f"{where}: group {group.name!r} lies inside {size} of {name!r}, which {held}")


def _check_apart(where: Path, groups: Sequence[PermutationGroup], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise where two groups move the same positions; units of several positions each may cross (rows and columns)."""
    taken: dict[tuple[str, int], list[tuple[str, set[int]]]] = {}
    for group in groups:
        for axis in group.axes:
            if axis.positions is not None and axis.positions.shape[:2] != (1, 1):
                continue
            whole = range(shapes[axis.param][axis.dim])
            held = set(whole if axis.positions is None else axis.positions.ravel().tolist())
            for other, theirs in taken.setdefault((axis.param, axis.dim), []):
                if held & theirs:
                    raise UsageError(
                        f"{where}: groups {other!r} and {group.name!r} both move position {min(held & theirs)} of "
                        f"{axis.param}[{axis.dim}]. Take it out of one of them."
                    )
            taken[axis.param, axis.dim].append((group.name, held))
