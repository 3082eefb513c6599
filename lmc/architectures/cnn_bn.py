"""A small convolutional network with BatchNorm (keys layer1.0, layer1.1, layer2.0, ..., fc)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, as_tuple, dashed, image_options, shapes_of


class CnnBn(AbstractNetwork):
    """Convolution, BatchNorm, ReLU, max pooling by 2, once for each entry of ``channels``; then one linear layer.

    Parameters
    ----------
    channels : sequence of int
        One layer each.
    kernel : int
        Odd; padded by half, so that only pooling changes the size.
    in_channels, size : int
        Of the images, (in_channels, size, size).
    classes : int
        Outputs.
    """

    name = "cnn-bn"
    assumed = ("half padding, ReLU and max pooling by 2 after each convolution assumed",)

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 32),
        kernel: int = 5,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        channels = as_tuple(channels)
        side = size >> len(channels)
        if side < 1 or kernel % 2 == 0:
            raise UsageError(
                f"cnn-bn: {len(channels)} poolings need a size above {size}, and kernel={kernel} must be odd."
            )
        self.options = {"channels": channels, "kernel": kernel, "in_channels": in_channels}
        self.options |= {"size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        for i, (inside, outside) in enumerate(zip((in_channels, *channels), channels, strict=False)):
            convolution = nn.Conv2d(inside, outside, kernel, padding=kernel // 2)
            layer = nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(), nn.MaxPool2d(2))
            self.add_module(f"layer{i + 1}", layer)
        self.fc = nn.Linear(channels[-1] * side**2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, size, size) to logits (batch, classes)."""
        for i in range(len(self.options["channels"])):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(x.flatten(1))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read the sizes; the image size is the usual one that explains the width of ``fc``."""
        shapes = shapes_of(state)
        count = next(i for i in range(len(state) + 1) if f"layer{i + 1}.0.weight" not in state)
        convolutions = [shapes[f"layer{i + 1}.0.weight"] for i in range(count)]
        fc = shapes.get("fc.weight", ())
        if not convolutions or any(len(shape) != 4 for shape in convolutions) or len(fc) != 2:
            return None
        channels = tuple(shape[0] for shape in convolutions)
        side = math.isqrt(fc[1] // channels[-1])
        sizes = (*((input_shape[-1],) if input_shape else ()), 28, 32, 8, side << count)
        size = next(size for size in sizes if size >> count == side)
        found = {"channels": channels, "kernel": convolutions[0][2], "in_channels": convolutions[0][1]}
        return found | {"size": size, "classes": fc[0]}

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the usual channels; small images get 3x3 kernels."""
        options = image_options("cnn-bn", input_shape, num_classes)
        return options | ({"kernel": 3} if options["size"] < 16 else {})

    def describe(self) -> str:
        """Return ``cnn-bn 16-32 channels, 5x5``."""
        kernel = self.options["kernel"]
        return f"cnn-bn {dashed(self.options['channels'])} channels, {kernel}x{kernel}"
