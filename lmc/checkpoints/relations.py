"""What several checkpoints are to each other: layouts, copies, and how alike their weights are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmc.checkpoints.checkpoint import Checkpoint

_CHUNK = 2**22  # entries at a time, so that a file of any size is compared in little memory


@dataclass(frozen=True)
class Relation:
    """What a checkpoint is to those before it.

    Parameters
    ----------
    layout : int
        Number of its layout (the set of names and shapes), counted from 1 in order of appearance.
    first : int or None
        Index of the first checkpoint of that layout; None for that one itself.
    duplicate : int or None
        Index of an earlier checkpoint with the same weights, bit for bit.
    cosine : float or None
        To the first of the same layout: near 1 the same run, near 0 an independent one.
    """

    layout: int
    first: int | None
    duplicate: int | None
    cosine: float | None


def relate(checkpoints: Sequence[Checkpoint]) -> list[Relation]:
    """Compare checkpoints, each with the first of its layout.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        Weights that are mapped from their files are read in chunks.

    Returns
    -------
    list of Relation
        One each, in order.
    """
    layouts: dict[tuple, int] = {}
    members: dict[tuple, list[int]] = {}
    found = []
    for i, one in enumerate(checkpoints):
        key = tuple(sorted((name, tuple(tensor.shape)) for name, tensor in one.state.items()))
        number = layouts.setdefault(key, len(layouts) + 1)
        earlier = members.setdefault(key, [])
        first = checkpoints[earlier[0]] if earlier else None
        value = None if first is None else cosine(first.state, one.state)
        twin = next((j for j in earlier if _same(checkpoints[j], one)), None)
        found.append(Relation(number, earlier[0] if earlier else None, twin, value))
        earlier.append(i)
    return found


def cosine(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Return the cosine between the matrices and kernels of two state dicts, in float64.

    Scales and variances are left out: they are positive in every network, so that independent runs would look alike.
    """
    dot = norm_a = norm_b = 0.0
    for name, tensor in a.items():
        if tensor.is_floating_point() and tensor.dim() > 1:
            for one, two in zip(_chunks(tensor), _chunks(b[name]), strict=True):
                x, y = one.double(), two.double()
                dot += float(torch.dot(x, y))
                norm_a += float(torch.dot(x, x))
                norm_b += float(torch.dot(y, y))
    return dot / max((norm_a * norm_b) ** 0.5, 1e-300)


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    flat = tensor.reshape(-1)  # a view, but for transposed tensors
    return iter(flat.split(_CHUNK)) if flat.numel() else iter(())


def _same(a: Checkpoint, b: Checkpoint) -> bool:
    if a.digest == b.digest and a.metadata.get("unwrapped") == b.metadata.get("unwrapped"):
        return True
    return all(
        tensor.dtype == b.state[name].dtype
        and all(torch.equal(x, y) for x, y in zip(_chunks(tensor), _chunks(b.state[name]), strict=True))
        for name, tensor in a.state.items()
    )
