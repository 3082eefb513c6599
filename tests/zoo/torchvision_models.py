"""torchvision's classification networks, each with the least that must be found in it."""

from __future__ import annotations

import importlib
from typing import Any

import torch

LEAST: dict[str, tuple[int, int]] = {
    "alexnet": (7, 9344), "convnext_small": (39, 54816), "convnext_tiny": (21, 27168), "densenet121": (120, 10240),
    "densenet169": (168, 14208), "efficientnet_b0": (40, 11404), "efficientnet_b1": (53, 16208),
    "efficientnet_b2": (53, 17658), "efficientnet_b3": (59, 22544), "efficientnet_b4": (71, 31912),
    "efficientnet_v2_s": (75, 38784), "googlenet": (81, 23840), "inception_v3": (111, 25370),
    "maxvit_t": (161, 38260), "mobilenet_v2": (25, 9128), "mobilenet_v3_large": (30, 8696),
    "mobilenet_v3_small": (27, 4872), "regnet_x_16gf": (71, 9511), "regnet_x_1_6gf": (59, 2736),
    "regnet_x_3_2gf": (80, 4365), "regnet_x_400mf": (71, 1772), "regnet_x_800mf": (53, 2060),
    "regnet_x_8gf": (72, 8468), "regnet_y_16gf": (77, 13116), "regnet_y_1_6gf": (113, 4928),
    "regnet_y_3_2gf": (89, 6028), "regnet_y_400mf": (69, 2579), "regnet_y_800mf": (61, 3049),
    "regnet_y_8gf": (73, 8564), "resnet101": (71, 20160), "resnet18": (12, 2880), "resnet34": (20, 4736),
    "resnet50": (37, 11456), "resnext50_32x4d": (53, 4888), "shufflenet_v2_x0_5": (18, 1912),
    "shufflenet_v2_x1_0": (18, 3136), "shufflenet_v2_x1_5": (18, 4216), "shufflenet_v2_x2_0": (18, 6464),
    "squeezenet1_0": (25, 2976), "squeezenet1_1": (25, 2944), "swin_s": (99, 95442), "swin_t": (51, 47670),
    "vgg11_bn": (10, 10944), "vit_b_16": (37, 38544), "vit_b_32": (37, 38544), "wide_resnet50_2": (37, 19008),
}  # fmt: skip
"""Name to (groups, units): leaf factors, an axis inside heads or groups counted once."""

STRUCTURE_ONLY = ("regnet_y_128gf", "vit_h_14")
"""Too large to run in float64 here: their weights stay on the meta device."""


_SCHEMAS: list[torch.library.Library] = []
"""Kept, since what a library defines goes with it."""


def import_models() -> Any:
    """Return ``torchvision.models``; beside a torch without CUDA its operators' schemas are defined first."""
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _SCHEMAS.append(library)
    return importlib.import_module("torchvision.models")


def names() -> list[str]:
    """Return every classification network."""
    return import_models().list_models(module=import_models())


def build(name: str, device: str | None = None) -> torch.nn.Module:
    """Return a network in eval mode, randomly initialised."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    try:
        with torch.device(device or "cpu"):
            return import_models().get_model(name, weights=None, **options).eval()
    except NotImplementedError:  # an initialisation that looks at numbers
        return import_models().get_model(name, weights=None, **options).to(device).eval()


def image_size(name: str) -> int:
    """Return the side of the smallest image at which a network shows all its structure."""
    if name.startswith(("vit_", "maxvit", "swin")):
        return 518 if name == "vit_h_14_518" else 224
    return 299 if name.startswith("inception") else 224 if name.startswith(("googlenet", "vgg", "alexnet")) else 96
