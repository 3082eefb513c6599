"""LeNet: two convolutions with max pooling, two linear layers (keys conv1, conv2, fc1, fc2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, dashed, image_options, shapes_of

_SIZES = (28, 32, 8)
"""Image sizes that are tried, in this order, when the weights leave several possible."""


class LeNet(AbstractNetwork):
    """Convolution, max pooling by 2, ReLU, twice; then two linear layers with a ReLU between.

    Dropout, where it was trained with, is not part of it: it does nothing in evaluation.

    Parameters
    ----------
    channels : (int, int)
        Of the two convolutions.
    hidden : int
        Units between the linear layers.
    kernel, padding : int
        Of both convolutions.
    in_channels, size : int
        Of the images, (in_channels, size, size).
    classes : int
        Outputs.

    References
    ----------
    .. [1] LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document Recognition. Proc. IEEE 1998.
    """

    name = "lenet"
    assumed = ("convolution, max pooling by 2 and ReLU assumed",)

    def __init__(
        self,
        *,
        channels: Sequence[int] = (10, 20),
        hidden: int = 50,
        kernel: int = 5,
        padding: int = 0,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        side = _side(size, kernel, padding)
        if len(channels) != 2 or side < 1:
            raise UsageError(
                f"lenet: channels={channels}, kernel={kernel} and padding={padding} do not fit size={size}."
            )
        self.options = {"channels": tuple(channels), "hidden": hidden, "kernel": kernel, "padding": padding}
        self.options |= {"in_channels": in_channels, "size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        self.conv1 = nn.Conv2d(in_channels, channels[0], kernel, padding=padding)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel, padding=padding)
        self.fc1 = nn.Linear(channels[1] * side**2, hidden)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, size, size) to logits (batch, classes)."""
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read the sizes; padding and image size are those that explain the width of ``fc1``."""
        shapes = shapes_of(state)
        conv1, conv2, fc1, fc2 = (shapes.get(f"{key}.weight", ()) for key in ("conv1", "conv2", "fc1", "fc2"))
        if (len(conv1), len(conv2), len(fc1), len(fc2)) != (4, 4, 2, 2):
            return None
        kernel, side = conv1[2], math.isqrt(fc1[1] // conv2[0])
        sizes = dict.fromkeys((*((input_shape[-1],) if input_shape else ()), *_SIZES))
        for size in sizes:
            for padding in (0, kernel // 2):
                if _side(size, kernel, padding) == side:
                    found = {"channels": (conv1[0], conv2[0]), "hidden": fc1[0], "kernel": kernel, "padding": padding}
                    return found | {"in_channels": conv1[1], "size": size, "classes": fc2[0]}
        return None

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the classic sizes; small images get padded 3x3 kernels."""
        options = image_options("lenet", input_shape, num_classes)
        return options | ({"kernel": 3, "padding": 1} if options["size"] < 16 else {})

    def describe(self) -> str:
        """Return ``lenet 10-20 channels, 5x5, hidden 50``."""
        kernel = self.options["kernel"]
        return f"lenet {dashed(self.options['channels'])} channels, {kernel}x{kernel}, hidden {self.options['hidden']}"


def _side(size: int, kernel: int, padding: int) -> int:
    """Return the size of the image that reaches the first linear layer."""
    for _ in range(2):
        size = (size + 2 * padding - kernel + 1) // 2
    return size
