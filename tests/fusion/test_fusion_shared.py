"""The baselines on a pair of MNIST networks that others trained: the accuracies that are known of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmc import fuse, load, open_data, resolve
from lmc.evaluation import evaluate_ensemble, evaluate_state
from lmc.pipeline import prove


@pytest.mark.shared
def test_known_accuracies_of_the_public_pair(shared_data: Path):
    train, test = (open_data("mnist", split, shared_data) for split in ("train", "test"))
    held = [load(shared_data / "checkpoints" / "otfusion-mnist-mlp" / f"{k}.checkpoint") for k in (0, 1)]
    module = resolve(None, held[0], input_shape=test.input_shape, num_classes=10).module
    states = [one.state for one in held]
    spec = prove(module, (test.inputs[:2],)).spec
    together = evaluate_ensemble([(module, state) for state in states], test)
    assert together.accuracy is not None and float(together.accuracy[0]) == pytest.approx(0.9788, abs=2e-4)
    # Known to so many points: both ends, since a method that gets better is another method.
    known = {"vanilla": (0.7384, 2e-4), "align-then-average": (0.965, 5e-3), "regmean": (0.947, 5e-3)}
    for method, (accuracy, room) in known.items():
        fused = fuse(states, spec, method=method, data=train, modules=module)
        seen = evaluate_state(module, fused.state, test)
        assert seen.accuracy is not None and float(seen.accuracy[0]) == pytest.approx(accuracy, abs=room), method
