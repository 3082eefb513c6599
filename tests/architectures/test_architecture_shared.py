"""Other people's checkpoints, recognised, reach the accuracies that were measured for them."""

from __future__ import annotations

import pytest
import torch

from lmc._errors import ArchitectureError
from lmc.architectures import fit_state, resolve
from lmc.checkpoints import load
from lmc.datasets import open_data

RAW = "mnist?normalize=none"
FIRST = "limit=1000"

# The first rows are the accuracies on all 10,000 test images. The networks below them take seconds each: their whole
# sets give 98.95, 99.31, 98.75, 98.45, 97.47, 97.15, 97.73, 99.80 and 99.95 with the same code, the first 1,000 this.
MEASURED = [
    ("lenet-10-20/a.pth", "mnist", 98.77),
    ("lenet-10-20/b.pth", "mnist", 98.85),
    ("mlp-bn-ensemble/0.pt", RAW, 97.93),
    ("mlp-bn-ensemble/1.pt", RAW, 98.13),
    ("mlp-bn-ensemble/2.pt", RAW, 97.98),
    ("mlp-bn-ensemble/3.pt", RAW, 98.36),
    ("mlp-500/a.ckpt", RAW, 97.47),
    ("mlp-500/b.ckpt", RAW, 97.92),
    ("otfusion-mnist-mlp/0.checkpoint", "mnist", 97.72),
    ("otfusion-mnist-mlp/1.checkpoint", "mnist", 97.75),
    ("curve-cnn/endpoint1-epoch200.pt", RAW, 98.94),
    ("curve-cnn/endpoint2-epoch200.pt", RAW, 98.87),
    ("lightning-mlp/a-pl1.6.ckpt", RAW, 96.33),
    ("lightning-mlp/b-pl2.1.ckpt", RAW, 95.65),
    ("safetensors-mlp/trained.safetensors", RAW, 95.56),
    ("lenet-20-50/a.pt", f"mnist?{FIRST}", 98.7),
    ("lenet-20-50/b.pt", f"mnist?{FIRST}", 99.2),
    ("cnn-bn-16-32/a.ckpt", f"{RAW}&{FIRST}", 98.7),
    ("cnn-bn-16-32/b.ckpt", f"{RAW}&{FIRST}", 97.4),
    ("lstm-rows/a.ckpt", f"{RAW}&{FIRST}", 96.4),
    ("lstm-rows/b.ckpt", f"{RAW}&{FIRST}", 95.5),
    ("lstm-rows-bidirectional/a.ckpt", f"{RAW}&{FIRST}", 97.6),
    ("resnet-cifar-tutorial/a.ckpt", "cifar10-4k?normalize=none", 95.85),
    ("resnet-cifar-tutorial/b.ckpt", "cifar10-4k?normalize=none", 96.03),
    ("resnet20-cifar10/a.th", f"cifar10-4k?normalize=imagenet&{FIRST}", 99.9),
    ("resnet20-cifar10/b.pth", f"cifar10-4k?{FIRST}", 100.0),
]


@pytest.mark.shared
@pytest.mark.parametrize(("file", "reference", "percent"), MEASURED, ids=[row[0] for row in MEASURED])
def test_measured_accuracy_is_reached(shared_data, file, reference, percent):
    data = open_data(reference, data_dir=shared_data)
    checkpoint = load(shared_data / "checkpoints" / file)
    found = resolve(None, checkpoint, input_shape=data.input_shape, num_classes=data.num_classes)
    found.module.load_state_dict(fit_state(checkpoint.state, found.module, file))
    hits = 0
    with torch.inference_mode():
        for inputs, targets in data.batches(500):
            x = inputs if data.normalization is None else data.normalization(inputs)
            hits += int((found.module(x).argmax(1) == targets).sum())
    assert 100 * hits / data.size == pytest.approx(percent, abs=0.02)


@pytest.mark.shared
@pytest.mark.parametrize("file", ["modular-addition-transformer/a.pt", "llama-gqa/ckpt.pt", "gpt-tied/ckpt.pt"])
def test_unknown_networks_are_asked_for(shared_data, file):
    with pytest.raises(ArchitectureError, match="--model"):
        resolve(None, load(shared_data / "checkpoints" / file))
