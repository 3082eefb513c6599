"""VGG with the key names of torchvision (features.N, classifier.N), and of CIFAR's with one linear layer."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, as_tuple, dashed, image_options, shapes_of

_PLAN = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
"""VGG11."""
_INDEX = re.compile(r"features\.(\d+)\.weight")


class VGG(AbstractNetwork):
    """Padded 3x3 convolutions with ReLU, max pooling by 2 between them; average pooling; linear layers.

    Dropout is not part of it: it does nothing in evaluation.

    Parameters
    ----------
    plan : sequence of int
        Channels of the convolutions in order, and 0 for each max pooling.
    norm : {"none", "batch"}
        BatchNorm between each convolution and its ReLU.
    pooled : int
        Side of the image after average pooling.
    hidden : sequence of int
        Hidden linear layers; without any the one linear layer is called ``classifier``.
    places : sequence of int, optional
        Numbers of the linear layers inside ``classifier``; 0, 3, 6 and so on otherwise.
    in_channels, size : int
        Of the images; the network takes any size that the max poolings leave something of. 224 where there are hidden
        layers, otherwise 32.
    classes : int
        Outputs.

    References
    ----------
    .. [1] Simonyan, Zisserman. Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015.
    """

    name = "vgg"
    assumed = ("ReLU, padding of 1, max pooling by 2 where the numbers of the layers leave room assumed",)

    def __init__(
        self,
        *,
        plan: Sequence[int] = _PLAN,
        norm: str = "batch",
        pooled: int = 1,
        hidden: Sequence[int] = (),
        places: Sequence[int] | None = None,
        in_channels: int = 3,
        size: int | None = None,
        classes: int = 10,
    ) -> None:
        super().__init__()
        norm = norm or "none"
        if norm not in ("none", "batch"):
            raise unknown("norm", str(norm), ("none", "batch"))
        plan, hidden = as_tuple(plan), as_tuple(hidden)
        places = as_tuple(places) if places else tuple(3 * i for i in range(len(hidden) + 1)) if hidden else ()
        size = size or (224 if hidden else 32)
        _check_sizes(plan, hidden, places, pooled, size)
        self.options = {"plan": plan, "norm": norm, "pooled": pooled, "hidden": hidden}
        self.options |= {"places": places, "in_channels": in_channels, "size": size, "classes": classes}
        self.input_shape = (in_channels, size, size)
        self.features = _features(in_channels, plan, norm)
        self.pool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = _classifier((plan_channels(plan)[-1] * pooled**2, *hidden, classes), places)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, in_channels, height, width) to logits (batch, classes)."""
        return self.classifier(self.pool(self.features(x)).flatten(1))

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read the sizes; where max poolings stand is seen from the gaps between the numbers of the layers."""
        shapes = shapes_of(state)
        found = {int(match[1]): shapes[match[0]] for match in map(_INDEX.fullmatch, shapes) if match}
        convolutions = {i: shape for i, shape in sorted(found.items()) if len(shape) == 4}
        linears = _linears(shapes)
        if not convolutions or not linears or any(len(shape) != 2 for shape in linears.values()):
            return None
        norm = any(len(shape) == 1 for shape in found.values())
        plan = _plan(convolutions, 3 if norm else 2)
        widths = [shape[0] for shape in linears.values()]
        pooled = math.isqrt(next(iter(linears.values()))[1] // plan_channels(plan)[-1])
        options = {
            "plan": plan,
            "norm": "batch" if norm else "none",
            "pooled": pooled,
            "hidden": tuple(widths[:-1]),
            "places": tuple(linears) if len(linears) > 1 else (),
            "in_channels": next(iter(convolutions.values()))[1],
            "classes": widths[-1],
        }
        return options | ({"size": input_shape[-1]} if input_shape else {})

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take the dataset's channels and classes; small images are pooled as often as they can be."""
        options = image_options("vgg", input_shape, num_classes)
        return options | {"plan": _shortened(_PLAN, int(math.log2(options["size"])))}

    def describe(self) -> str:
        """Return ``vgg16, batch norm, hidden 4096-4096``."""
        o = self.options
        depth = len(plan_channels(o["plan"])) + len(o["hidden"]) + 1
        hidden = f", hidden {dashed(o['hidden'])}" if o["hidden"] else ""
        return f"vgg{depth}{', batch norm' if o['norm'] == 'batch' else ''}{hidden}"

    def takes(self, shape: Shape) -> bool:
        """Any image with the right channels that is not pooled away."""
        fits = len(shape) == 3 and shape[0] == self.input_shape[0]
        return fits and min(shape[1:]) >> self.options["plan"].count(0) > 0


def plan_channels(plan: Sequence[int]) -> tuple[int, ...]:
    """Return the channels of a plan without its poolings."""
    return tuple(width for width in plan if width)


def _features(inside: int, plan: Sequence[int], norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in plan:
        if not width:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(inside, width, 3, padding=1))
        layers += [nn.BatchNorm2d(width)] if norm == "batch" else []
        layers.append(nn.ReLU())
        inside = width
    return nn.Sequential(*layers)


def _classifier(widths: Sequence[int], places: Sequence[int]) -> nn.Module:
    """Return the linear layers at their places, a ReLU behind each but the last, nothing at the others."""
    if not places:
        return nn.Linear(widths[0], widths[1])
    layers: list[nn.Module] = [nn.Identity() for _ in range(places[-1] + 1)]
    for i, place in enumerate(places):
        layers[place] = nn.Linear(widths[i], widths[i + 1])
        if i + 1 < len(places):
            layers[place + 1] = nn.ReLU()
    return nn.Sequential(*layers)


def _check_sizes(
    plan: tuple[int, ...], hidden: tuple[int, ...], places: tuple[int, ...], pooled: int, size: int
) -> None:
    if not plan_channels(plan) or not plan[0] or min(plan) < 0 or pooled < 1 or size >> plan.count(0) < 1:
        raise UsageError(
            f"vgg: plan={plan} must begin with a convolution and hold positive channels and zeros, pooled={pooled} be "
            f"positive, and size={size} outlast {plan.count(0)} poolings."
        )
    wanted = len(hidden) + 1 if hidden else 0
    if len(places) != wanted or any(b - a < 2 for a, b in itertools.pairwise(places)):
        raise UsageError(f"vgg: places={places} must be {wanted} numbers that leave room for the ReLUs between.")


def _linears(shapes: dict[str, Shape]) -> dict[int, Shape]:
    """Return the shapes of the linear layers, by their numbers."""
    if "classifier.weight" in shapes:
        return {0: shapes["classifier.weight"]}
    matches = [match for match in (re.fullmatch(r"classifier\.(\d+)\.weight", key) for key in shapes) if match]
    return dict(sorted((int(match[1]), shapes[match[0]]) for match in matches))


def _plan(convolutions: dict[int, Shape], step: int) -> tuple[int, ...]:
    """Put a pooling where one more number is left out than convolution, BatchNorm and ReLU take."""
    plan: list[int] = []
    places = list(convolutions)
    for place, after in zip(places, [*places[1:], None], strict=True):
        plan.append(convolutions[place][0])
        if after is None or after - place > step:
            plan.append(0)
    return tuple(plan)


def _shortened(plan: Sequence[int], poolings: int) -> tuple[int, ...]:
    """Return the beginning of a plan with at most so many poolings."""
    ends = [i + 1 for i, width in enumerate(plan) if not width]
    return tuple(plan[: ends[min(poolings, len(ends)) - 1]])
