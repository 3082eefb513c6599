"""Layer-wise paths: only some modules move, the rest of the network stays at A."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lmc._errors import UsageError, did_you_mean
from lmc._types import StateDict
from lmc.interpolation.paths import LinearPath, ties


def move_only(a: StateDict, b: StateDict, parts: Sequence[str]) -> dict[str, Tensor]:
    """Return A with the tensors of some modules taken from B: the end of a layer-wise path.

    Parameters
    ----------
    a, b : state dict
        Two points of one space; neither is changed.
    parts : sequence of str
        Names of tensors, or of modules that hold them (``layer3``, ``layer3.0.conv1``); parameters and buffers move.
        A tensor that is tied to one that moves is the same tensor, and moves with it.

    Returns
    -------
    dict of str to Tensor
        In the order of A; the tensors of A and B themselves, no copies.

    Raises
    ------
    UsageError
        If a part is no module or tensor that has weights.
    MismatchError
        If A and B are not of one space.

    References
    ----------
    .. [1] Adilova et al. Layer-wise Linear Mode Connectivity. ICLR 2024.
    """
    LinearPath(a, b)
    names = moved_names(a, parts, ties(a, b))
    return {name: b[name] if name in names else tensor for name, tensor in a.items()}


def moved_names(state: StateDict, parts: Sequence[str], tied: dict[str, str] | None = None) -> frozenset[str]:
    """Return the names of a state dict that belong to some modules, and those tied to them.

    Raises
    ------
    UsageError
        If a part is no module or tensor that has weights.
    """
    first = ties(state) if tied is None else tied
    moving = set()
    for part in parts:
        found = {first[name] for name in state if _belongs(name, part)}
        if not found:
            raise UsageError(f"No module or tensor {part!r} has weights.{_known(part, state)}")
        moving |= found
    return frozenset(name for name in state if first[name] in moving)


def _belongs(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _known(part: str, state: StateDict) -> str:
    modules = {name[:end] for name in state for end in range(len(name)) if name[end] == "."}
    outer = list(dict.fromkeys(name.partition(".")[0] for name in state))
    more = ", ..." if len(outer) > 12 else ""
    return f"{did_you_mean(part, [*modules, *state])} At the top: {', '.join(outer[:12])}{more}."
