"""The same weights under other names: which name of a file is which name of a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

from lmc.architectures.architecture import Shape, shapes_of

LEAVES = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
"""Last parts of a name that say what a tensor is, so that no other takes its place."""

_COUNTER = "num_batches_tracked"


def match_names(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Match the names of a file to those of a network, where that can be done in one way only.

    Names that both have stay. The rest is matched by one prefix that all names differ by; else layer by layer in
    order, each with the same parts of the same shapes; else tensor by tensor in order; else by shapes that stand only
    once on each side. A file whose names were sorted by letter has lost the order of its layers: its numbers give it
    back.

    Parameters
    ----------
    state, wanted : mapping of str to Tensor
        The file's and the network's state dict.

    Returns
    -------
    dict of str to str or None
        For every name of the network that the file knows otherwise, the file's name; empty where no name differs;
        None where nothing certain can be said.
    """
    have, need = shapes_of(state), shapes_of(wanted)
    if any(have[name] != need[name] for name in have if name in need):
        return None
    others = [name for name in have if name not in need]
    if not others:
        return {}
    others = sorted(others, key=natural) if others == sorted(others) else others
    for mine, theirs in _sides([name for name in need if name not in have], others, _repeats(wanted)):
        for method in (_by_prefix, _by_layer, _in_order, _by_shape):
            found = method(mine, theirs, need, have)
            if found is not None:
                return found
    return None


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts ``fc10`` after ``fc2``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _sides(mine: list[str], theirs: list[str], repeats: set[str]) -> list[tuple[list[str], list[str]]]:
    """Return what is to be matched: everything, then without tied names, then without batch counters either."""
    once = [name for name in mine if name not in repeats]
    bare = [[name for name in names if not name.endswith(_COUNTER)] for names in (once, theirs)]
    return [(mine, theirs), (once, theirs), (bare[0], bare[1])]


def _repeats(wanted: Mapping[str, Tensor]) -> set[str]:
    """Name the tensors of the network that are tied to an earlier one."""
    seen: set[tuple] = set()
    repeats = set()
    for name, tensor in wanted.items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() > 1 and tensor.data_ptr() and key in seen:
            repeats.add(name)
        seen.add(key)
    return repeats


def _fits(mine: str, theirs: str, need: Mapping[str, Shape], have: Mapping[str, Shape]) -> bool:
    ends = mine.rpartition(".")[2], theirs.rpartition(".")[2]
    known = LEAVES.intersection(ends)
    return need[mine] == have[theirs] and (ends[0] == ends[1] or ends[1] not in LEAVES or not known)


def _by_prefix(
    mine: Sequence[str], theirs: Sequence[str], need: Mapping[str, Shape], have: Mapping[str, Shape]
) -> dict[str, str] | None:
    for long, short, swapped in ((theirs, mine, False), (mine, theirs, True)):
        shortest = min(short, key=len, default="")
        for name in long:
            prefix = name.removesuffix(shortest)
            if shortest and prefix.endswith(".") and {prefix + one for one in short} == set(long):
                pairs = {one: prefix + one for one in short}
                found = {prefix + one: one for one in short} if swapped else pairs
                return found if all(need[a] == have[b] for a, b in found.items()) else None
    return None


def _by_layer(
    mine: Sequence[str], theirs: Sequence[str], need: Mapping[str, Shape], have: Mapping[str, Shape]
) -> dict[str, str] | None:
    """Match layer to layer in order, where every name ends in what its tensor is."""
    if any(name.rpartition(".")[2] not in LEAVES for name in (*mine, *theirs)):
        return None
    ours, others = _layers(mine, need), _layers(theirs, have)
    if list(ours.values()) != list(others.values()):
        return None
    pairs = zip(ours, others, strict=True)
    return {f"{a}.{leaf}" if a else leaf: f"{b}.{leaf}" if b else leaf for a, b in pairs for leaf in ours[a]}


def _layers(names: Sequence[str], shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    layers: dict[str, dict[str, Shape]] = {}
    for name in names:
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = shapes[name]
    return layers


def _in_order(
    mine: Sequence[str], theirs: Sequence[str], need: Mapping[str, Shape], have: Mapping[str, Shape]
) -> dict[str, str] | None:
    if len(mine) != len(theirs) or not all(_fits(a, b, need, have) for a, b in zip(mine, theirs, strict=True)):
        return None
    return dict(zip(mine, theirs, strict=True))


def _by_shape(
    mine: Sequence[str], theirs: Sequence[str], need: Mapping[str, Shape], have: Mapping[str, Shape]
) -> dict[str, str] | None:
    ours, others = ({shapes[name]: name for name in names} for names, shapes in ((mine, need), (theirs, have)))
    counts = (Counter(need[name] for name in mine), Counter(have[name] for name in theirs))
    if counts[0] != counts[1] or any(count > 1 for count in counts[0].values()):
        return None
    found = {name: others[shape] for shape, name in ours.items()}
    return found if all(_fits(a, b, need, have) for a, b in found.items()) else None
