"""ResNets with projection shortcuts: torchvision's for ImageNet, and the usual ones for CIFAR."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, as_tuple, dashed, image_options, shapes_of

_STEMS = {"conv1": "bn1", "conv": "bn"}
_SHORTCUTS = ("downsample", "shortcut")
_HEADS = ("fc", "linear")
_LARGE = 7
"""Kernel of a first convolution that is followed by max pooling and made for large images."""


class ResNet(AbstractNetwork):
    """Stages of residual blocks, each but the first halving the image; global average pooling; one linear layer.

    A first convolution of 7x7 has stride 2 and is followed by max pooling (3x3, stride 2), a smaller one has stride 1
    and no pooling. A block changes size or channels by a strided convolution with BatchNorm in its shortcut, and has
    its own stride in its first 3x3 convolution.

    Parameters
    ----------
    block : {"basic", "bottleneck"}
        Two 3x3 convolutions, or a 3x3 one between two of 1x1.
    blocks : sequence of int
        Per stage.
    channels : sequence of int
        Out of each stage.
    inner : sequence of int, optional
        Channels inside the blocks of each stage; those of ``channels`` for basic blocks, a quarter for bottlenecks.
    groups : int
        Of the 3x3 convolutions in the blocks.
    first : int, optional
        Channels of the first convolution; ``inner[0]`` otherwise.
    kernel : {1, 3, 7}
        Of the first convolution.
    shortcut_kernel : {1, 3}
        Of the convolutions in the shortcuts.
    bias : bool
        Whether the convolutions have biases.
    stem, shortcut, head : str
        Names of the first convolution (``conv1`` or ``conv``), the shortcuts (``downsample`` or ``shortcut``) and the
        linear layer (``fc`` or ``linear``).
    in_channels, size : int
        Of the images; the network takes any size. 224 for a first kernel of 7, otherwise 32.
    classes : int
        Outputs.

    References
    ----------
    .. [1] He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.
    .. [2] Xie, Girshick, Dollar, Tu, He. Aggregated Residual Transformations for Deep Neural Networks. CVPR 2017.
    """

    name = "resnet"
    assumed = (
        "ReLU, stride 2 in the first 3x3 convolution of each later stage and average pooling at the end assumed; "
        "a first kernel of 7x7 with stride 2 and max pooling, a smaller one without",
    )

    def __init__(
        self,
        *,
        block: str = "basic",
        blocks: Sequence[int] = (2, 2, 2, 2),
        channels: Sequence[int] = (64, 128, 256, 512),
        inner: Sequence[int] | None = None,
        groups: int = 1,
        first: int | None = None,
        kernel: int = 3,
        shortcut_kernel: int = 1,
        bias: bool = False,
        stem: str = "conv1",
        shortcut: str = "downsample",
        head: str = "fc",
        in_channels: int = 3,
        size: int | None = None,
        classes: int = 10,
    ) -> None:
        super().__init__()
        for option, value, known in (
            ("block", block, _BLOCKS),
            ("stem", stem, _STEMS),
            ("shortcut", shortcut, _SHORTCUTS),
            ("head", head, _HEADS),
        ):
            if value not in known:
                raise unknown(option, str(value), known)
        blocks, channels = as_tuple(blocks), as_tuple(channels)
        inner = as_tuple(inner) if inner else tuple(c if block == "basic" else c // 4 for c in channels)
        first = int(first or inner[0])
        _check_sizes(blocks, channels, inner, groups, kernel, shortcut_kernel)
        size = size or (224 if kernel == _LARGE else 32)
        self.options = {"block": block, "blocks": blocks, "channels": channels, "inner": inner, "groups": groups}
        self.options |= {"first": first, "kernel": kernel, "shortcut_kernel": shortcut_kernel, "bias": bias}
        self.options |= {"stem": stem, "shortcut": shortcut, "head": head}
        self.options |= {"in_channels": in_channels, "size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        stride = 2 if kernel == _LARGE else 1
        self.add_module(stem, nn.Conv2d(in_channels, first, kernel, stride, kernel // 2, bias=bias))
        self.add_module(_STEMS[stem], nn.BatchNorm2d(first))
        shared = {"groups": groups, "bias": bias, "shortcut": shortcut, "shortcut_kernel": shortcut_kernel}
        for i, (inside, outside) in enumerate(itertools.pairwise((first, *channels))):
            sizes = ((inside, inner[i], outside, 1 if i == 0 else 2), *[(outside, inner[i], outside, 1)] * blocks[i])
            stage = (_BLOCKS[block](*sizes[j], **shared) for j in range(blocks[i]))
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
        self.add_module(head, nn.Linear(channels[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, height, width) to logits (batch, classes)."""
        o = self.options
        x = F.relu(self.get_submodule(_STEMS[o["stem"]])(self.get_submodule(o["stem"])(x)))
        if o["kernel"] == _LARGE:
            x = F.max_pool2d(x, 3, 2, 1)
        for i in range(len(o["blocks"])):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.get_submodule(o["head"])(x.mean((2, 3)))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read names and sizes; without a projection where the stages change, it is another network."""
        shapes = shapes_of(state)
        stem = next((name for name in _STEMS if f"{name}.weight" in shapes), "conv1")
        head = next((name for name in _HEADS if f"{name}.weight" in shapes), "fc")
        shortcut = next((name for name in _SHORTCUTS if f"layer2.0.{name}.0.weight" in shapes), None)
        first, linear = shapes.get(f"{stem}.weight", ()), shapes.get(f"{head}.weight", ())
        if shortcut is None or len(first) != 4 or len(linear) != 2:
            return None
        block = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
        last = "conv3" if block == "bottleneck" else "conv2"
        count = _count(f"layer{{}}.0.{last}.weight", shapes, 1)
        inside = [shapes.get(f"layer{i + 1}.0.conv1.weight", ()) for i in range(count)]
        outside = [shapes[f"layer{i + 1}.0.{last}.weight"] for i in range(count)]
        inner = shapes.get("layer1.0.conv2.weight", ())
        projection = shapes[f"layer2.0.{shortcut}.0.weight"]
        if any(len(shape) != 4 for shape in (*inside, *outside, inner, projection)) or not inner[1]:
            return None
        found = {
            "block": block,
            "blocks": tuple(_count(f"layer{i + 1}.{{}}.conv1.weight", shapes, 0) for i in range(count)),
            "channels": tuple(shape[0] for shape in outside),
            "inner": tuple(shape[0] for shape in inside),
            "groups": inside[0][0] // inner[1],
            "first": first[0],
            "kernel": first[2],
            "shortcut_kernel": projection[2],
            "bias": f"{stem}.bias" in shapes,
        }
        found |= {"stem": stem, "shortcut": shortcut, "head": head, "in_channels": first[1], "classes": linear[0]}
        return found | ({"size": input_shape[-1]} if input_shape else {})

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the dataset's channels and classes; large images get the 7x7 first convolution."""
        options = image_options("resnet", input_shape, num_classes)
        return options | ({"kernel": _LARGE} if options["size"] >= 128 else {})

    def describe(self) -> str:
        """Return ``resnet18, 64-128-256-512 channels, 7x7 first``."""
        o = self.options
        depth = sum(o["blocks"]) * (3 if o["block"] == "bottleneck" else 2) + 2
        groups = f", {o['groups']} groups" if o["groups"] > 1 else ""
        return f"resnet{depth}, {dashed(o['channels'])} channels{groups}, {o['kernel']}x{o['kernel']} first"

    def takes(self, shape: Shape) -> bool:
        """Any image with the right channels: the mean over positions is the last step before the linear layer."""
        return len(shape) == 3 and shape[0] == self.input_shape[0]


class _Basic(nn.Module):
    def __init__(self, inside: int, inner: int, outside: int, stride: int, *, groups: int, bias: bool, **kind) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, inner, 3, stride, 1, groups=groups, bias=bias)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, outside, 3, 1, 1, groups=groups, bias=bias)
        self.bn2 = nn.BatchNorm2d(outside)
        self.projection = _project(self, inside, outside, stride, bias, **kind)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        if self.projection:
            x = self.get_submodule(self.projection)(x)
        return F.relu(self.bn2(self.conv2(inner)) + x)


class _Bottleneck(nn.Module):
    def __init__(self, inside: int, inner: int, outside: int, stride: int, *, groups: int, bias: bool, **kind) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, inner, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=bias)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outside, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(outside)
        self.projection = _project(self, inside, outside, stride, bias, **kind)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        if self.projection:
            x = self.get_submodule(self.projection)(x)
        return F.relu(self.bn3(self.conv3(inner)) + x)


_BLOCKS: dict[str, type[nn.Module]] = {"basic": _Basic, "bottleneck": _Bottleneck}


def _project(
    block: nn.Module, inside: int, outside: int, stride: int, bias: bool, *, shortcut: str, shortcut_kernel: int
) -> str:
    """Register the shortcut's layers where it cannot be the identity, and return their name."""
    if inside == outside and stride == 1:
        return ""
    convolution = nn.Conv2d(inside, outside, shortcut_kernel, stride, shortcut_kernel // 2, bias=bias)
    block.add_module(shortcut, nn.Sequential(convolution, nn.BatchNorm2d(outside)))
    return shortcut


def _check_sizes(
    blocks: tuple[int, ...],
    channels: tuple[int, ...],
    inner: tuple[int, ...],
    groups: int,
    kernel: int,
    shortcut_kernel: int,
) -> None:
    if not len(blocks) == len(channels) == len(inner) or min(*blocks, *channels, *inner) < 1:
        raise UsageError(
            f"resnet: blocks={blocks}, channels={channels} and inner={inner} need a positive number for each stage."
        )
    if groups < 1 or any(width % groups for width in inner):
        raise UsageError(f"resnet: groups={groups} must divide inner={inner}.")
    if kernel not in (1, 3, _LARGE) or shortcut_kernel not in (1, 3):
        raise UsageError(
            f"resnet: kernel={kernel} must be 1, 3 or {_LARGE}, and shortcut_kernel={shortcut_kernel} 1 or 3."
        )


def _count(pattern: str, shapes: dict[str, Shape], start: int) -> int:
    """Return how many names there are as the number in them counts up from ``start``."""
    return next(i for i in range(len(shapes) + 1) if pattern.format(i + start) not in shapes)
