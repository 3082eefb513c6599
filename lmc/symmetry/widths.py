"""The symmetries of one network in other widths: the same groups, with other numbers of units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lmc._types import StateDict
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec

Shapes = Mapping[str, tuple[int, ...]]


def with_widths(spec: PermutationSpec, state: StateDict) -> PermutationSpec | None:
    """Return the symmetries of a network that differs from a spec's in the number of units alone.

    Parameters
    ----------
    spec : PermutationSpec
        Of the network as it is.
    state : mapping of str to Tensor
        Of the other one, under the same names.

    Returns
    -------
    PermutationSpec or None
        The spec itself where all shapes are its own, and one without a graph where only widths are others; None where
        more than that differs. Groups inside others, and those around them (heads), keep their size.
    """
    shapes = {name: tuple(state[name].shape) if name in state else shape for name, shape in spec.shapes.items()}
    if shapes == dict(spec.shapes):
        return spec
    if any(len(shape) != len(spec.shapes[name]) for name, shape in shapes.items()):
        return None
    sizes = _sizes(spec, shapes)
    if resized_shapes(spec, sizes) != shapes:
        return None
    moved: dict[tuple[str, str, int], Axis] = {}
    for name, held in spec.axes_of.items():
        for dim in range(len(shapes[name])):
            here = [(group, axis) for group, axis in held if axis.dim == dim]
            new = _resized_axes(spec, here, sizes)
            if new is None:
                return None
            moved |= {(group, name, dim): axis for (group, _), axis in zip(here, new, strict=True)}
    groups = tuple(
        replace(group, size=sizes[group.name], axes=tuple(moved[group.name, a.param, a.dim] for a in group.axes))
        for group in spec.groups
    )
    return replace(spec, groups=groups, shapes=shapes, exported=None)


def unequal_group(spec: PermutationSpec, other: PermutationSpec) -> tuple[str, int, int] | None:
    """Return the first group that two specs have in different sizes, with both; None where there is none."""
    sizes = ((group.name, group.size, other[group.name].size) for group in spec.groups)
    return next((one for one in sizes if one[1] != one[2]), None)


def resized_shapes(spec: PermutationSpec, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a state dict whose groups have other sizes; what no group holds stays.

    Parameters
    ----------
    spec : PermutationSpec
        Of the network as it is.
    sizes : mapping of str to int
        Group name to its number of units; those that are missing stay.
    """
    shapes = {}
    for name, shape in spec.shapes.items():
        lengths = list(shape)
        for group, axis in spec.axes_of.get(spec.aliases.get(name, name), ()):
            if group in sizes:
                lengths[axis.dim] += _copies(axis) * (sizes[group] - spec[group].size)
        shapes[name] = tuple(lengths)
    return shapes


def _copies(axis: Axis) -> int:
    """Return how many positions of its dimension a unit has."""
    return 1 if axis.positions is None else axis.positions.shape[0] * axis.positions.shape[1]


def _sizes(spec: PermutationSpec, shapes: Shapes) -> dict[str, int]:
    """Return the size of every group for which shapes leave one choice; the others' as they are."""
    outer = {name for group in spec.groups for name, _ in group.over}
    sizes = {group.name: group.size for group in spec.groups if group.name in outer or _nested(group)}
    while found := dict(_determined(spec, shapes, sizes)):
        sizes |= found
    return {group.name: sizes.get(group.name, group.size) for group in spec.groups}


def _nested(group: PermutationGroup) -> bool:
    return bool(group.over) or any(axis.given for axis in group.axes)


def _determined(spec: PermutationSpec, shapes: Shapes, sizes: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the size of every group that lies in some dimension with only known ones beside it."""
    for name, held in spec.axes_of.items():
        for dim, length in enumerate(spec.shapes[name]):
            here = [(group, axis) for group, axis in held if axis.dim == dim]
            unknown = [(group, axis) for group, axis in here if group not in sizes]
            if len(unknown) != 1:
                continue
            ((group, axis),) = unknown
            known = sum(_copies(one) * (sizes[g] - spec[g].size) for g, one in here if g in sizes)
            grown, rest = divmod(shapes[name][dim] - length - known, _copies(axis))
            if not rest and spec[group].size + grown >= 1:
                yield group, spec[group].size + grown


def _resized_axes(spec: PermutationSpec, here: list[tuple[str, Axis]], sizes: Mapping[str, int]) -> list[Axis] | None:
    """Return the axes of one dimension, each with its new positions; None where these do not follow from the old."""
    stretches: list[tuple[int, int, int]] = []
    for group, axis in here:
        if sizes[group] != spec[group].size and axis.positions is not None:
            own = _stretches(axis.positions)
            if own is None:
                return None
            starts, stride = own
            size = spec[group].size
            stretches += [(int(start), size * stride, (sizes[group] - size) * stride) for start in starts]
    found = []
    for group, axis in here:
        if axis.positions is None:
            found.append(axis)
            continue
        held = axis.positions
        if sizes[group] != spec[group].size:
            held = _lengthened(held, sizes[group])
            base = axis.positions[..., :1]
        elif any(((held >= start) & (held < start + length)).any() for start, length, _ in stretches):
            return None
        else:
            base = held
        found.append(replace(axis, positions=held + _shift(base, stretches)))
    return found


def _stretches(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], int] | None:
    """Return where the stretches begin that a group fills, and how many positions running a unit has in each.

    A flattened map is one stretch, all positions of a unit running; four gates are four, of one position for each unit.
    """
    starts, steps = np.sort(positions[0, :, 0]), np.diff(positions[0], axis=1)
    stride = int(steps.flat[0]) if steps.size else (1 if len(starts) == 1 else 0)
    if stride < 1 or (steps != stride).any() or len(starts) % stride:
        return None
    runs = starts.reshape(-1, stride)
    return (runs[:, 0], stride) if (runs == runs[:, :1] + np.arange(stride)).all() else None


def _lengthened(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return positions of more or fewer units, each copy from where it starts."""
    step = positions[..., 1:2] - positions[..., :1] if positions.shape[2] > 1 else 1
    return positions[..., :1] + step * np.arange(size)


def _shift(positions: NDArray[np.int64], stretches: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Return how far positions move since stretches before them have grown."""
    moved = np.zeros_like(positions)
    for start, length, grown in stretches:
        moved += np.where(positions >= start + length, grown, 0)
    return moved
