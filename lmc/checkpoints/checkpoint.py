"""The one thing every format yields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmc._errors import MismatchError

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """Weights, and where they came from.

    Parameters
    ----------
    state : dict of str to Tensor
        On the CPU, in the file's order, without the prefixes of wrappers. Tensors that were one in training (tied)
        still share their memory. Meant to be read: what changes weights works on a copy.
    source : str
        The path as it was given.
    digest : str
        SHA-256 of the file, in hexadecimal.
    metadata : dict
        ``framework`` and ``format``; ``versions`` (name to version, where recorded); ``unwrapped``, the entry the
        weights were found under, or None; ``stripped``, the prefix taken off every name, or None; ``recorded``, the
        plain values that stood beside the weights (epoch, accuracy, arguments); ``ties``, lists of names that share
        one tensor; ``header``, the free text of a safetensors header; ``lmc``, what this tool itself wrote there.
    """

    state: dict[str, Tensor]
    source: str
    digest: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Number of weights: tied tensors count once, the statistics of normalisation layers do not."""
        repeats = {name for names in self.metadata.get("ties", ()) for name in names[1:]}
        return sum(
            tensor.numel()
            for name, tensor in self.state.items()
            if name not in repeats and name.rpartition(".")[2] not in _STATISTICS
        )

    def as_written(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return new values for these weights as the file's own strict loader expects them.

        Parameters
        ----------
        state : mapping of str to Tensor
            New values under the names of ``self.state``, and perhaps more names, which are left out; not modified.

        Returns
        -------
        dict of str to Tensor
            The file's names (stripped prefix included) in its order, with its dtypes. Names that were tied share one
            tensor wherever their new values are equal.

        Raises
        ------
        MismatchError
            If a name of the file is missing.
        """
        missing = [name for name in self.state if name not in state]
        if missing:
            names = ", ".join(map(repr, missing[:5]))
            raise MismatchError(
                f"No values for {len(missing)} of the {len(self.state)} tensors of {self.source}: {names}."
            )
        typed = {name: state[name].to(tensor.dtype) for name, tensor in self.state.items()}
        prefix = self.metadata.get("stripped") or ""
        return {prefix + name: tensor for name, tensor in share_ties(typed, self.metadata.get("ties", ())).items()}

    def __repr__(self) -> str:
        notes = [f"{len(self.state)} tensors", f"{self.parameters:,} parameters"]
        if self.metadata.get("unwrapped"):
            notes.append(f"weights under {self.metadata['unwrapped']!r}")
        if self.metadata.get("stripped"):
            notes.append(f"prefix {self.metadata['stripped']!r} stripped")
        return f"Checkpoint({Path(self.source).name!r}: {', '.join(notes)})"


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Say what a checkpoint holds, in plain values that JSON can store.

    Parameters
    ----------
    checkpoint : Checkpoint
        A loaded file.

    Returns
    -------
    dict
        ``source``, ``digest``, the entries of ``metadata``, ``parameters`` (a number) and ``tensors``: one
        ``{"name", "shape", "dtype"}`` each, in the file's order.
    """
    tensors = [
        {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in checkpoint.state.items()
    ]
    return {
        "source": checkpoint.source,
        "digest": checkpoint.digest,
        **checkpoint.metadata,
        "parameters": checkpoint.parameters,
        "tensors": tensors,
    }


def find_ties(state: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the groups of names that are one tensor: same memory, dtype, shape and strides."""
    groups: dict[tuple, list[str]] = {}
    for name, tensor in state.items():
        if tensor.numel():  # empty tensors all sit at address 0
            key = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            groups.setdefault(key, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def share_ties(state: Mapping[str, Tensor], ties: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """Return the state with the names of each group sharing one tensor, those apart whose values differ by now."""
    shared = dict(state)
    for names in ties:
        group = [name for name in names if name in state]
        for name in group[1:]:
            first, other = state[group[0]], state[name]
            if first.dtype == other.dtype and torch.equal(first, other):
                shared[name] = first
    return shared
