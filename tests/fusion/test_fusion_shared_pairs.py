"""Networks that others trained, with BatchNorm, biases and skips in place: fused, they are far above their average."""

from __future__ import annotations

import pytest

from lmc import find_symmetries, fuse, open_data, pipeline
from lmc.evaluation import evaluate_state

pytestmark = pytest.mark.shared

PAIRS = {
    "cnn-bn-16-32": ("mnist?normalize=none", (1, 28, 28), "wb", 2000),
    "resnet-cifar-tutorial": ("cifar10-4k?normalize=none", (3, 32, 32), "wb?on=activations&examples=100", 400),
}


@pytest.mark.parametrize("folder", PAIRS)
def test_fused_with_statistics_recomputed_it_beats_the_average_by_twenty_points(shared_data, folder: str):
    data, shape, method, examples = PAIRS[folder]
    names = (str(shared_data / f"checkpoints/{folder}/{end}.ckpt") for end in "ab")
    pair = pipeline.load_pair(*names, input_shape=shape, num_classes=10)
    module = pair.a.architecture.module
    spec = find_symmetries(module, pair.a.architecture.example_inputs(seed=0)[0])
    limits = {"train": 500, "test": examples}
    train, test = (open_data(f"{data}&limit={count}", split, shared_data) for split, count in limits.items())
    found = {}
    for one in ("vanilla", method):
        state = fuse([pair.a.state, pair.b.state], spec, method=one, data=train, modules=module).state
        accuracy = evaluate_state(module, state, test).accuracy
        assert accuracy is not None
        found[one] = 100 * float(accuracy[0])
    assert found["vanilla"] < 60
    assert found[method] >= found["vanilla"] + 20
