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

_HALVES = {str(dtype): dtype for dtype in (torch.float16, torch.bfloat16)}
"""What netCDF has no numbers for: the bits are stored."""


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

    @property
    def soft(self) -> bool:
        """Whether there is a plan to apply beside its permutation."""
        ...

    @property
    def hard(self) -> bool:
        """Whether there is a permutation."""
        ...

    @property
    def rounding_loss(self) -> float:
        """How much worse the objective is at the permutation than at the plan."""
        ...

    def apply(self, state: StateDict) -> dict[str, Tensor]:
        """Return B aligned to A."""
        ...

    def apply_soft(self, state: StateDict) -> dict[str, Tensor]:
        """Return B moved along the plan itself."""
        ...


@dataclass(frozen=True, eq=False)
class KeptAlignment:
    """An alignment's result as it was stored: B aligned, and what was said about it.

    Parameters
    ----------
    method, objective, message, seconds, rounding_loss
        As in :class:`lmc.AlignmentResult`.
    aligned : dict of str to Tensor
        B aligned to A; empty where there is no permutation.
    along : dict of str to Tensor
        B moved along the soft plan; empty where there is none.
    """

    method: str
    objective: float
    message: str
    aligned: dict[str, Tensor] = field(repr=False)
    seconds: Mapping[str, float] = field(default_factory=dict)
    rounding_loss: float = 0.0
    along: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def soft(self) -> bool:
        """Whether there is a plan to apply beside its permutation."""
        return bool(self.along)

    @property
    def hard(self) -> bool:
        """Whether there is a permutation."""
        return bool(self.aligned)

    def apply(self, state: StateDict) -> dict[str, Tensor]:
        """Return B aligned to A; the state is the one it was aligned from."""
        return dict(self.aligned)

    def apply_soft(self, state: StateDict) -> dict[str, Tensor]:
        """Return B moved along the plan; the state is the one it was aligned from."""
        return dict(self.along)


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
    return _from_dataset(stored, b)


def _spec(spec: PermutationSpec) -> str:
    return fingerprint(spec.groups, spec.aliases, spec.buffers)


def _to_dataset(result: Alignment, b: StateDict) -> xr.Dataset:
    """Store the aligned tensors, and those along the plan where there is one."""
    variables = _numbered(result.apply(b), "tensor") if result.hard else {}
    if result.soft:
        variables |= _numbered(result.apply_soft(b), "soft")
    numbers = {"objective": result.objective, "rounding_loss": result.rounding_loss}
    numbers["seconds"] = sum(result.seconds.values())
    attrs = {"method": result.method, "message": result.message}
    return xr.Dataset(variables, attrs=attrs | {name: float(value) for name, value in numbers.items()})


def _numbered(state: StateDict, kind: str) -> dict[str, Any]:
    """Return tensors by number, since netCDF does not take every name; tied ones once."""
    first: dict[tuple[Any, ...], str] = {}
    names: dict[str, str] = {}
    variables: dict[str, Any] = {}
    for number, (name, tensor) in enumerate(state.items()):
        memory = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if tensor.numel() else (number,)
        names[name] = first.setdefault(memory, f"{kind}_{number}")
        if names[name] == f"{kind}_{number}":
            dims = tuple(f"dim_{number}_{axis}" for axis in range(tensor.dim()))
            half, kept = tensor.dtype in _HALVES.values(), tensor.detach().cpu()
            attrs = {"dtype": str(tensor.dtype)} if half else {}
            variables[f"{kind}_{number}"] = (dims, (kept.view(torch.int16) if half else kept).numpy(), attrs)
    stored = {f"{kind}s_name": list(names), f"{kind}s_variable": list(names.values())}
    return variables | {key: ((f"{kind}s",), values) for key, values in stored.items()}


def _from_dataset(stored: xr.Dataset, b: StateDict) -> KeptAlignment:
    attrs = stored.attrs
    return KeptAlignment(
        attrs["method"],
        float(attrs["objective"]),
        attrs["message"],
        _tensors(stored, "tensor", b) if "tensors" in stored.dims else {},
        {"total": float(attrs["seconds"])},
        float(attrs["rounding_loss"]),
        _tensors(stored, "soft", b) if "softs" in stored.dims else {},
    )


def _tensors(stored: xr.Dataset, kind: str, like: StateDict) -> dict[str, Tensor]:
    """Return the tensors that were stored, each on the device of B's of that name."""
    pairs = zip(stored[f"{kind}s_name"].values.tolist(), stored[f"{kind}s_variable"].values.tolist(), strict=True)
    loaded: dict[str, Tensor] = {}
    return {
        str(name): loaded.setdefault(variable, _tensor(stored[variable], like.get(str(name))))
        for name, variable in pairs
    }


def _tensor(variable: xr.DataArray, like: Tensor | None) -> Tensor:
    found = torch.from_numpy(np.array(variable.values))
    if "dtype" in variable.attrs:
        found = found.view(_HALVES[variable.attrs["dtype"]])
    return found if like is None else found.to(like.device)
