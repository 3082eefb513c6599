"""An unpickler that makes only what a table names: for pickles that torch's own safe reader does not cover."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmc._errors import CheckpointError
from lmc.checkpoints.format import printable, refuse


class Node:
    """Stands for an object of any class: it only keeps what it is given, and runs nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def read_pickle(
    data: bytes,
    path: Path,
    table: Mapping[str, Any],
    nodes: tuple[str, ...] = (),
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read a pickle that may refer to nothing but the entries of a table.

    Parameters
    ----------
    data : bytes
        The pickle.
    path : pathlib.Path
        The file, for the error.
    table : mapping of str to object
        ``module.name`` to what stands for it.
    nodes : tuple of str
        Beginnings of names whose objects become a `Node`.
    persistent : callable, optional
        From a persistent id to its object.

    Raises
    ------
    CheckpointError
        If the pickle refers to anything else, or is damaged.
    """

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            full = f"{module}.{name}"
            if full.startswith(nodes):
                return Node
            if full not in table:
                what = f"refers to {printable(full)}, which is no part of weights"
                raise refuse(path, what, "Save the weights alone: torch.save(model.state_dict(), 'weights.pt')")
            return table[full]

        def persistent_load(self, pid: Any) -> Any:
            if persistent is None:
                raise pickle.UnpicklingError("a persistent id where none belongs")
            return persistent(pid)

    try:
        return Restricted(io.BytesIO(data)).load()
    except CheckpointError:
        raise
    except Exception as error:  # bytes from elsewhere make the unpickler fail in any way there is
        raise refuse(path, f"holds a damaged pickle ({printable(error)})", "Download or copy it again.") from error


def rebuild_tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Stand for ``torch._utils._rebuild_tensor_v2``: a view of a storage, which torch checks the bounds of."""
    return torch.as_strided(storage, tuple(size), tuple(stride), int(offset))


TENSORS: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "collections.OrderedDict": OrderedDict,
    **{
        f"torch.{name}Storage": dtype
        for name, dtype in {
            "Float": torch.float32,
            "Double": torch.float64,
            "Half": torch.float16,
            "BFloat16": torch.bfloat16,
            "Long": torch.int64,
            "Int": torch.int32,
            "Short": torch.int16,
            "Char": torch.int8,
            "Byte": torch.uint8,
            "Bool": torch.bool,
            "ComplexFloat": torch.complex64,
        }.items()
    },
}
"""What a pickle needs in order to hold tensors; a storage's class becomes its element type."""
