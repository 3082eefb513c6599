"""A few of torchvision's networks, small enough for every run; `make zoo` goes over all of them."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torchvision_models as zoo

from lmc.symmetry import find_symmetries, verify

if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed: make zoo", allow_module_level=True)


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_1"]
)
def test_at_least_what_is_known_is_found_and_verified(name):
    model, image = zoo.build(name), torch.zeros(1, 3, 64, 64)
    spec = find_symmetries(model, image)
    groups, units = zoo.LEAST[name]
    assert len(spec.groups) >= groups
    assert sum(group.size for group in spec.groups) >= units
    verdict = verify(spec, model, image, breaks=4)
    assert verdict.ok, verdict.message


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "convnext_tiny", "vit_h_14"])
def test_structure_of_large_networks_without_weights(name):
    size = zoo.image_size(name)
    spec = find_symmetries(zoo.build(name, device="meta"), torch.zeros(1, 3, size, size))
    assert len(spec.groups) >= zoo.LEAST.get(name, (1, 0))[0]
    if name == "vit_b_16":
        for block in range(12):
            prefix = f"encoder.layers.encoder_layer_{block}.self_attention"
            inside = [(g.kind, g.blocks, g.size) for g in spec.groups if g.name.startswith(prefix + ".")]
            assert inside == [("heads", 1, 12), ("inside head", 12, 64), ("inside head", 12, 64)]
    assert spec.coverage > 0.99
