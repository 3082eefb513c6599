"""The CIFAR ResNet with parameter-free shortcuts (keys conv1, bn1, layer1.0.conv1, ..., linear)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, image_options, shapes_of


class ResNet20(AbstractNetwork):
    """Three stages of basic blocks, 16, 32 and 64 channels times ``width``, with option-A shortcuts.

    Parameters
    ----------
    width : float
        Multiplies the channels.
    blocks : int
        Per stage: 3 is ResNet-20, 5 is ResNet-32.
    in_channels, size : int
        Of the images; the network takes any size.
    classes : int
        Outputs.

    References
    ----------
    .. [1] He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, section 4.2.
    """

    name = "resnet20"
    assumed = ("option-A shortcuts (subsample, pad channels with zeros) assumed",)

    def __init__(
        self, *, width: float = 1, blocks: int = 3, in_channels: int = 3, size: int = 32, classes: int = 10
    ) -> None:
        super().__init__()
        base = round(16 * width)
        if base < 2 or base % 2 or blocks < 1:
            raise UsageError(
                f"resnet20: width={width} must make an even number of channels, and blocks={blocks} at least 1."
            )
        self.options = {"width": base // 16 if base % 16 == 0 else base / 16, "blocks": blocks}
        self.options |= {"in_channels": in_channels, "size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        self.conv1 = nn.Conv2d(in_channels, base, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.layer1 = _stage(base, base, blocks)
        self.layer2 = _stage(base, 2 * base, blocks)
        self.layer3 = _stage(2 * base, 4 * base, blocks)
        self.linear = nn.Linear(4 * base, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, height, width) to logits (batch, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read width, depth and ends."""
        shapes = shapes_of(state)
        conv1, linear = shapes.get("conv1.weight", ()), shapes.get("linear.weight", ())
        blocks = next(i for i in range(len(state) + 1) if f"layer1.{i}.conv1.weight" not in state)
        if len(conv1) != 4 or len(linear) != 2 or not blocks:
            return None
        found = {"width": conv1[0] / 16, "blocks": blocks, "in_channels": conv1[1], "classes": linear[0]}
        return found | {"size": input_shape[-1] if input_shape else 32}

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the dataset's channels and classes."""
        return image_options("resnet20", input_shape, num_classes)

    def describe(self) -> str:
        """Return ``resnet20, width x1``."""
        return f"resnet{6 * self.options['blocks'] + 2}, width x{self.options['width']}"

    def takes(self, shape: Shape) -> bool:
        """Any image with the right channels: the mean over positions is the last step before the linear layer."""
        return len(shape) == 3 and shape[0] == self.input_shape[0]


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.pad = (outside - inside) // 2
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        if self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(self.bn2(self.conv2(inner)) + x)


def _stage(inside: int, outside: int, blocks: int) -> nn.Sequential:
    first = _Block(inside, outside, stride=1 if inside == outside else 2)
    return nn.Sequential(first, *(_Block(outside, outside, stride=1) for _ in range(blocks - 1)))
