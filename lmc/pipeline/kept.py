"""Alignments as work units: an aligned B that was found once is not searched for again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.symmetry import PermutationSpec
from lmc.units import Unit, WorkFolder, code_digest, fingerprint


class Alignment(Protocol):
    """What the rest of the pipeline needs of an alignment's result; ``AlignmentResult`` has it."""

    @property
    def method(self) -> str:
        """Reference of the method, with its settings."""
        ...

    @property
    def objective(self) -> float:
        """What the method reached."""
        ...

    @property
    def message(self) -> str:
        """How it ended."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time by phase."""
        ...

    def apply(self, state: StateDict) -> dict[str, Tensor]:
        """Return B aligned to A."""
        ...


@dataclass(frozen=True, eq=False)
class KeptAlignment:
    """An alignment's result as it was stored: B aligned, and what was said about it.

    Parameters
    ----------
    method, objective, message, seconds
        As in :class:`lmc.AlignmentResult`.
    aligned : dict of str to Tensor
        B aligned to A.
    """

    method: str
    objective: float
    message: str
    aligned: dict[str, Tensor] = field(repr=False)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def apply(self, state: StateDict) -> dict[str, Tensor]:
        """Return B aligned to A; the state is the one it was aligned from."""
        return dict(self.aligned)


def kept_alignment(
    compute: Callable[[], Alignment],
    settings: Any,
    a: StateDict,
    b: StateDict,
    spec: PermutationSpec,
    work: WorkFolder | None,
) -> Alignment:
    """Return an alignment of B to A, from the folder where it is there already.

    Parameters
    ----------
    compute : callable
        What aligns.
    settings : object
        Method, data and whatever else the alignment depends on; where these have no fingerprint (a method that holds
        a handle, say), nothing is kept.
    a, b : state dict
        The ends.
    spec : PermutationSpec
        What may be permuted.
    work : WorkFolder or None
        Where results are kept.
    """
    if work is None or any(tensor.is_complex() for tensor in b.values()):  # netCDF has no complex numbers
        return compute()
    try:
        about = {"settings": fingerprint(settings), "a": fingerprint(a), "b": fingerprint(b), "spec": _spec(spec)}
    except UsageError:
        return compute()
    unit = Unit("alignment", {**about, "threads": torch.get_num_threads(), "code": code_digest()})
    (stored,) = work.run([(unit, lambda: _to_dataset(compute(), b))])
    return _from_dataset(stored)


def _spec(spec: PermutationSpec) -> str:
    return fingerprint(spec.groups, spec.aliases, spec.buffers)


def _to_dataset(result: Alignment, b: StateDict) -> xr.Dataset:
    """Store the aligned tensors by number: netCDF does not take every name; tied ones once."""
    first: dict[tuple[Any, ...], str] = {}
    names: dict[str, str] = {}
    variables = {}
    for number, (name, tensor) in enumerate(result.apply(b).items()):
        memory = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if tensor.numel() else (number,)
        names[name] = first.setdefault(memory, f"tensor_{number}")
        if names[name] == f"tensor_{number}":
            dims = tuple(f"dim_{number}_{axis}" for axis in range(tensor.dim()))
            variables[f"tensor_{number}"] = (dims, tensor.detach().cpu().numpy())
    variables["name"], variables["variable"] = (("name",), list(names)), (("name",), list(names.values()))
    seconds = float(sum(result.seconds.values()))
    attrs = {"method": result.method, "message": result.message, "objective": float(result.objective)}
    return xr.Dataset(variables, attrs={**attrs, "seconds": seconds})


def _from_dataset(stored: xr.Dataset) -> KeptAlignment:
    tensors = {
        str(name): torch.from_numpy(np.array(variable.values))
        for name, variable in stored.data_vars.items()
        if str(name).startswith("tensor_")
    }
    pairs = zip(stored["name"].values.tolist(), stored["variable"].values.tolist(), strict=True)
    attrs = stored.attrs
    aligned = {str(name): tensors[str(variable)] for name, variable in pairs}
    seconds = {"total": float(attrs["seconds"])}
    return KeptAlignment(attrs["method"], float(attrs["objective"]), attrs["message"], aligned, seconds)
