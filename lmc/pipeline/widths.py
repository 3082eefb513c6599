"""The network to fuse into: of other widths than the first one's, everything else alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lmc._errors import UsageError
from lmc._reference import Reference
from lmc._types import StateDict
from lmc.architectures import Architecture, resolve
from lmc.architectures.registry import NETWORKS
from lmc.symmetry import PermutationSpec
from lmc.symmetry.widths import resized_shapes


def sizes_of(spec: PermutationSpec, widths: Sequence[int]) -> dict[str, int]:
    """Return the size of every group for widths given in the order of the forward pass.

    Raises
    ------
    UsageError
        If there are not as many widths as groups, or one is below 1; groups inside heads keep their size.
    """
    free = [group for group in spec.groups if not group.over and not any(axis.given for axis in group.axes)]
    if len(widths) != len(free):
        have = ", ".join(f"{group.name} {group.size}" for group in free)
        raise UsageError(f"{len(widths)} widths for {len(free)} groups of units ({have}): give one for each, in order.")
    if any(width < 1 for width in widths):
        raise UsageError(f"Widths are numbers of units from 1 up, not {', '.join(map(str, widths))}.")
    return {group.name: int(width) for group, width in zip(free, widths, strict=True)}


def resized(architecture: Architecture, spec: PermutationSpec, sizes: Mapping[str, int]) -> Architecture:
    """Build a network like another one, with other numbers of units.

    Parameters
    ----------
    architecture : Architecture
        The network as it is, one that is known by name.
    spec : PermutationSpec
        Its symmetries.
    sizes : mapping of str to int
        Group name to number of units.

    Returns
    -------
    Architecture

    Raises
    ------
    UsageError
        If the network is the user's own code, which has to be named with its new sizes, or no network of its kind has
        such widths.
    """
    parsed = Reference.parse(architecture.reference)
    if parsed.name not in NETWORKS:
        raise UsageError(
            f"{architecture.name} is code of your own: how to build it in other widths is not known. Name the network "
            "to fuse into, with its sizes: --into file.py:Net?width=128."
        )
    shapes = resized_shapes(spec, sizes)
    state: StateDict = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    seen = NETWORKS[parsed.name].from_state(state, architecture.input_shape)
    wanted = ", ".join(f"{name} {size}" for name, size in sizes.items())
    if seen is None:
        raise UsageError(f"No {parsed.name} has these widths: {wanted}.")
    found = resolve(str(Reference(parsed.name, {**parsed.options, **seen})), input_shape=architecture.input_shape)
    built: Mapping[str, Tensor] = found.module.state_dict()
    if {name: tuple(tensor.shape) for name, tensor in built.items()} != shapes:
        raise UsageError(f"{found.name} is what comes of these widths, which do not go together: {wanted}.")
    return found
