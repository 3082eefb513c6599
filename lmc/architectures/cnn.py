"""Plain convolutional networks: convolutions, then linear layers, under whatever names they were saved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import (
    AbstractNetwork,
    Shape,
    as_tuple,
    attach,
    dashed,
    image_options,
    shapes_of,
)
from lmc.architectures.lenet import LeNet
from lmc.architectures.naming import natural

_SIZES = (28, 32, 64, 8, 96, 224)
_LENET_TENSORS = 8
"""Four layers with biases: with an fc3 the same names belong to another network."""


class CNN(AbstractNetwork):
    """Convolutions with ReLU and max pooling by 2, flattened into linear layers with ReLU between them.

    Parameters
    ----------
    channels, kernels : sequence of int
        Of the convolutions, one each.
    hidden : sequence of int
        Hidden linear layers; may be empty.
    pooling : {"each", "last"}
        After each convolution, or only after the last.
    padding : {"none", "half"}
        Of the convolutions.
    names : sequence of str, optional
        Dotted names of all layers in order, so that the keys are those of a checkpoint.
    in_channels, size, classes : int
        Of the images, (in_channels, size, size), and the output.
    """

    name = "cnn"

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64),
        kernels: Sequence[int] = (3, 3),
        hidden: Sequence[int] = (),
        pooling: str = "each",
        padding: str = "none",
        names: Sequence[str] | None = None,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        channels, kernels, hidden = as_tuple(channels), as_tuple(kernels), as_tuple(hidden)
        side = _side(size, kernels, pooling, padding)
        count = len(channels) + len(hidden) + 1
        self._names = tuple(map(str, as_tuple(names or _names(len(channels), len(hidden)))))
        if len(kernels) != len(channels) or side < 1 or len(self._names) != count:
            raise UsageError(
                f"cnn: channels={channels}, kernels={kernels} and names do not fit each other and {size=}."
            )
        self.options = {"channels": channels, "kernels": kernels, "hidden": hidden, "pooling": pooling}
        self.options |= {"padding": padding, "names": self._names}
        self.options |= {"in_channels": in_channels, "size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        self.assumed = (f"ReLU, max pooling by 2 after {_PLACES[pooling]} and {padding} padding assumed",)
        for name, (a, b), kernel in zip(
            self._names, itertools.pairwise((in_channels, *channels)), kernels, strict=False
        ):
            attach(self, name, nn.Conv2d(a, b, kernel, padding=kernel // 2 if padding == "half" else 0))
        widths = (channels[-1] * side**2, *hidden, classes)
        for name, (a, b) in zip(self._names[len(channels) :], itertools.pairwise(widths), strict=True):
            attach(self, name, nn.Linear(a, b))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, size, size) to logits (batch, classes)."""
        count = len(self.options["channels"])
        for i, name in enumerate(self._names[:count]):
            x = F.relu(self.get_submodule(name)(x))
            if self.options["pooling"] == "each" or i == count - 1:
                x = F.max_pool2d(x, 2)
        x = x.flatten(1)
        for name in self._names[count:-1]:
            x = F.relu(self.get_submodule(name)(x))
        return self.get_submodule(self._names[-1])(x)

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read the sizes; pooling, padding and image size are the first that explain the first linear layer."""
        shapes = shapes_of(state)
        if len(shapes) == _LENET_TENSORS and LeNet.from_state(state, input_shape) is not None:
            return None
        layers = sorted((key.removesuffix(".weight") for key in shapes if key.endswith(".weight")), key=natural)
        convolutions = [name for name in layers if len(shapes[f"{name}.weight"]) == 4]
        linears = [name for name in layers if len(shapes[f"{name}.weight"]) == 2]
        if not convolutions or not linears or len(convolutions) + len(linears) != len(layers):
            return None
        kernels = tuple(shapes[f"{name}.weight"][2] for name in convolutions)
        channels = tuple(shapes[f"{name}.weight"][0] for name in convolutions)
        side = math.isqrt(shapes[f"{linears[0]}.weight"][1] // channels[-1])
        sizes = (input_shape[-1],) if input_shape else _SIZES
        allowed = _allowed(convolutions)
        explaining = (c for c in _explanations(sizes) if c["pooling"] in allowed)
        found = next((c for c in explaining if _side(c["size"], kernels, c["pooling"], c["padding"]) == side), None)
        if found is None:
            return None
        return found | {
            "channels": channels,
            "kernels": kernels,
            "hidden": tuple(shapes[f"{name}.weight"][0] for name in linears[:-1]),
            "names": (*convolutions, *linears),
            "in_channels": shapes[f"{convolutions[0]}.weight"][1],
            "classes": shapes[f"{linears[-1]}.weight"][0],
        }

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the dataset's sizes; small images get padded kernels."""
        options = image_options("cnn", input_shape, num_classes)
        return options | ({"padding": "half"} if options["size"] < 16 else {})

    def describe(self) -> str:
        """Return ``cnn 32-64 channels, 3-3 kernels, hidden 128``."""
        o = self.options
        hidden = f", hidden {dashed(o['hidden'])}" if o["hidden"] else ""
        return f"cnn {dashed(o['channels'])} channels, {dashed(o['kernels'])} kernels{hidden}"


_PLACES = {"each": "each convolution", "last": "the last convolution"}


def _names(convolutions: int, hidden: int) -> tuple[str, ...]:
    return (*(f"conv{i + 1}" for i in range(convolutions)), *(f"fc{i + 1}" for i in range(hidden + 1)))


def _allowed(names: Sequence[str]) -> tuple[str, ...]:
    """Return the poolings that the numbers of a Sequential leave room for: a ReLU takes one, a pooling another."""
    parts = [name.rpartition(".") for name in names]
    if len({stem for stem, _, _ in parts}) > 1 or not all(last.isdigit() for _, _, last in parts):
        return ("each", "last")
    gaps = {int(after) - int(before) for (_, _, before), (_, _, after) in itertools.pairwise(parts)}
    if gaps <= {1}:
        return ("each", "last")  # ReLU and pooling are functions, or there is one convolution only
    return ("each",) if min(gaps) > 2 else ("last",) if gaps == {2} else ()


def _explanations(sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield what the weights leave open, the more usual first."""
    for size, pooling, padding in itertools.product(sizes, ("each", "last"), ("none", "half")):
        yield {"size": size, "pooling": pooling, "padding": padding}


def _side(size: int, kernels: Sequence[int], pooling: str, padding: str) -> int:
    """Return the size of the image that reaches the first linear layer."""
    for i, kernel in enumerate(kernels):
        size = size + 2 * (kernel // 2 if padding == "half" else 0) - kernel + 1
        size = size // 2 if pooling == "each" or i == len(kernels) - 1 else size
    return size
