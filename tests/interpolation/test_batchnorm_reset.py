"""BatchNorm reset: the statistics of the data, each example weighted the same; everything else stays."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lmc._errors import DatasetError
from lmc.datasets import Normalization, as_data
from lmc.interpolation import LinearPath, RecalibratedPath, batchnorm_layers, reset_batchnorm


@pytest.fixture
def inputs() -> torch.Tensor:
    return 3 + 2 * torch.randn(25, 4, generator=torch.Generator().manual_seed(0))


def data_of(x: torch.Tensor, **options):
    return as_data((x, torch.zeros(len(x), dtype=torch.long)), task="classification", **options)


def test_ragged_batches_weigh_by_their_examples(inputs) -> None:
    module = nn.BatchNorm1d(4)
    found = reset_batchnorm(module, module.state_dict(), data_of(inputs), batch_size=10)
    torch.testing.assert_close(found["running_mean"], inputs.mean(0))
    parts = inputs.split(10)
    expected = sum(len(part) * part.var(0) for part in parts) / len(inputs)
    torch.testing.assert_close(found["running_var"], expected)
    assert found["num_batches_tracked"] == len(parts)
    # and what momentum=None would have said is another number, so that the test can fail
    assert not torch.allclose(torch.stack([part.mean(0) for part in parts]).mean(0), inputs.mean(0))


def test_one_batch_equals_torchs_own_reset(inputs) -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3), nn.BatchNorm1d(3))
    found = reset_batchnorm(module, module.state_dict(), data_of(inputs))
    reference = copy.deepcopy(module).train()
    for layer in batchnorm_layers(reference).values():
        layer.momentum = None
    with torch.no_grad():
        reference(inputs)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(found[name], value)


def test_module_and_state_stay_as_they_were(inputs) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=0.3)).eval()
    state = copy.deepcopy(module.state_dict())
    kept = copy.deepcopy(state)
    found = reset_batchnorm(module, state, data_of(inputs))
    assert not torch.equal(found["1.running_mean"], kept["1.running_mean"])
    for held in (state, module.state_dict()):
        assert all(torch.equal(held[name], value) for name, value in kept.items())
    assert not module[1].training and module[1].momentum == 0.3 and not module[1]._forward_hooks


def test_dropout_stays_off_and_the_inputs_are_normalised(inputs) -> None:
    module = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4))
    found = reset_batchnorm(module, module.state_dict(), data_of(inputs, normalization=Normalization((3.0,), (2.0,))))
    torch.testing.assert_close(found["1.running_mean"], ((inputs - 3) / 2).mean(0))


def test_a_layer_used_twice_sees_both_its_inputs(inputs) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.SyncBatchNorm(4)  # a BatchNorm by another name

        def forward(self, x):
            return self.norm(x) + self.norm(x + 10)

    module = Twice()
    found = reset_batchnorm(module, module.state_dict(), data_of(inputs))
    torch.testing.assert_close(found["norm.running_mean"], inputs.mean(0) + 5)


def test_without_statistics_nothing_changes(inputs) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))
    assert batchnorm_layers(module) == {}
    found = reset_batchnorm(module, module.state_dict(), data_of(inputs))
    assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())


def test_data_without_two_examples_in_a_batch_are_refused(inputs) -> None:
    module = nn.BatchNorm1d(4)
    with pytest.raises(DatasetError, match="two or more"):
        reset_batchnorm(module, module.state_dict(), data_of(inputs), batch_size=1)


def test_the_ends_get_the_same_treatment(inputs) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    a, b = module.state_dict(), {name: value + 1 for name, value in module.state_dict().items()}
    path = RecalibratedPath(LinearPath(a, b), module, data_of(inputs))
    for end, state in zip(path.ends, (a, b), strict=True):
        expected = reset_batchnorm(module, state, data_of(inputs))
        assert all(torch.equal(end[name], expected[name]) for name in expected)
        assert not torch.equal(end["1.running_mean"], state["1.running_mean"])
