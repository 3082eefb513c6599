"""What every network of this room is: the result of a resolution, and the interface of the registered ones."""

from __future__ import annotations

import abc
import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lmc._errors import ArchitectureError
from lmc._imports import blame
from lmc._types import StateDict

Shape = tuple[int, ...]

CHANNEL_FIX = "Give the inputs of the data a channel dimension, x[:, None]."


class AbstractNetwork(nn.Module, abc.ABC):
    """A registered network: its constructor takes keyword options only, each with a default.

    Attributes
    ----------
    name : str
        What ``--model`` calls it.
    assumed : tuple of str
        What the weights cannot tell; said aloud when the network was recognised without a name.
    options : dict
        Every option with the value used, so that ``name?options`` builds the same network again.
    input_shape : tuple of int
        Shape of one example, without the batch.
    """

    name: ClassVar[str]
    assumed: tuple[str, ...] = ()
    input_kind: ClassVar[Literal["float", "tokens"]] = "float"
    options: dict[str, Any]
    input_shape: Shape

    @classmethod
    @abc.abstractmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Return the options that the weights show, or None where they are not of this network."""

    @classmethod
    @abc.abstractmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Return the options that suit a dataset, for a network that is to be trained."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Return name and sizes in a few words."""

    def takes(self, shape: Shape) -> bool:
        """Say whether examples of this shape fit."""
        return tuple(shape) == self.input_shape


@dataclass(frozen=True)
class Architecture:
    """A network for a set of weights, and how it was found.

    Parameters
    ----------
    name : str
        Short name, with sizes where they are known (``mlp 784-500-10``).
    reference : str
        What to pass as ``--model`` to get the same network again, every option written out.
    module : torch.nn.Module
        In eval mode; its own parameters are arbitrary.
    assumptions : tuple of str
        What was taken for granted, for the user to read.
    input_shape : tuple of int or None
        Shape of one example, without the batch; None when nobody knows it.
    input_kind : {"float", "tokens"}
        What the first layer reads.
    vocab : int or None
        Number of tokens, for ``input_kind="tokens"``.
    """

    name: str
    reference: str
    module: nn.Module
    assumptions: tuple[str, ...] = ()
    input_shape: Shape | None = None
    input_kind: Literal["float", "tokens"] = "float"
    vocab: int | None = None

    def example_inputs(self, batch: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
        """Draw inputs of the right shape and kind.

        Parameters
        ----------
        batch : int
            Number of examples.
        seed : int
            Of a generator of its own; the global one is left alone.

        Returns
        -------
        tuple of Tensor
            One tensor of shape (batch, *input_shape): standard normal float32, or int64 below ``vocab``.

        Raises
        ------
        ArchitectureError
            When the shape is not known.
        """
        if self.input_shape is None:
            raise ArchitectureError(
                f"The input shape of {self.name!r} is not known. Pass --data, or --input-shape 3,32,32 "
                "(in Python input_shape=(3, 32, 32)), without the batch."
            )
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, *self.input_shape)
        if self.input_kind == "tokens":
            return (torch.randint(self.vocab or 2, shape, generator=generator),)
        return (torch.randn(shape, generator=generator),)


def try_forward(module: nn.Module, inputs: tuple[Tensor, ...], name: str) -> Any:
    """Run a module once, without gradients and without touching the global random state.

    Returns
    -------
    Whatever the module returns.

    Raises
    ------
    ArchitectureError
        If it fails: the file and line of the module's own code, and its message.
    """
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return module(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        fix = _channel_fix(module, inputs) or "Pass the --data or --input-shape it was made for, or another --model."
        raise ArchitectureError(
            f"{name}: forward fails on inputs of shape {shapes} (batch first). {blame(error).rstrip('.')}. {fix}"
        ) from error


def _channel_fix(module: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Say so where images without a channel dimension are all that is wrong."""
    if len(inputs) != 1 or inputs[0].ndim != 3 or not inputs[0].is_floating_point():
        return ""
    images = inputs[0][:, None]
    with contextlib.suppress(Exception), torch.no_grad(), torch.random.fork_rng(devices=[]):
        module(images)
        return f"It runs on {tuple(images.shape)}. {CHANNEL_FIX}"
    return ""


def image_options(name: str, input_shape: Shape, num_classes: int) -> dict[str, Any]:
    """Return ``in_channels, size, classes`` for a dataset of square images, or refuse."""
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise ArchitectureError(
            f"{name} reads square images (channels, size, size); this dataset has examples of shape {input_shape}."
        )
    return {"in_channels": input_shape[0], "size": input_shape[1], "classes": num_classes}


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shapes of a state dict."""
    return {key: tuple(value.shape) for key, value in state.items()}


def dashed(sizes: Any) -> str:
    """Write sizes as ``784-400-10``."""
    return "-".join(map(str, sizes))


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return an option that may be one value or several as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def flat_size(shape: Shape) -> int:
    """Return the number of entries of one example."""
    return math.prod(shape)


def attach(root: nn.Module, name: str, module: nn.Module) -> None:
    """Register ``module`` under a dotted name, making the containers on the way."""
    *parents, leaf = name.split(".")
    node = root
    for parent in parents:
        if parent not in dict(node.named_children()):
            node.add_module(parent, nn.Module())
        node = node.get_submodule(parent)
    node.add_module(leaf, module)
