"""Networks that a file brings along as a graph: archives of torch.export, where the user trusts them."""

from __future__ import annotations

import types
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from lmc._errors import ArchitectureError
from lmc._imports import blame
from lmc.architectures.architecture import Architecture


def build_graph(path: str, input_shape: tuple[int, ...] | None = None) -> Architecture:
    """Return the network of a ``.pt2`` archive; opening one can run code that it holds.

    Parameters
    ----------
    path : str
        The archive, which the user said to trust.
    input_shape : tuple of int, optional
        Shape of one example; by default that of the inputs it was exported with.

    Raises
    ------
    ArchitectureError
        If it cannot be opened by this version of torch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            module = program.module(check_guards=False)
    except Exception as error:  # of a file from elsewhere
        raise ArchitectureError(f"{path}: torch.export cannot open its graph. {blame(error)}") from error
    # An exported graph has one mode, and refuses both methods.
    module.train = types.MethodType(_stay, module)  # pyright: ignore[reportAttributeAccessIssue]
    module.eval = types.MethodType(_stay, module)  # pyright: ignore[reportAttributeAccessIssue]
    examples = [x for x in (program.example_inputs or ((),))[0] if isinstance(x, Tensor)]
    shape = input_shape or (tuple(examples[0].shape[1:]) if examples else None)
    said = ("the graph in the file, in the mode it was exported in",)
    if examples and not examples[0].is_floating_point():
        return Architecture(
            "exported graph", f"graph:{path}", module, said, shape, "tokens", int(examples[0].max()) + 1
        )
    return Architecture("exported graph", f"graph:{path}", module, said, shape)


def _stay(module: nn.Module, *_: Any) -> nn.Module:
    return module
