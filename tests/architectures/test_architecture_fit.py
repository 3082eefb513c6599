"""Weights are matched to the module before anything is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmc._errors import MismatchError
from lmc.architectures import fit_state


def net():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def test_the_result_is_in_the_modules_order_with_the_files_own_tensors():
    module = net()
    state = {key: value.double() if value.is_floating_point() else value for key, value in module.state_dict().items()}
    fitted = fit_state(dict(reversed(state.items())), module, "a.pt")
    assert list(fitted) == list(module.state_dict())
    assert all(fitted[key] is state[key] for key in state), "neither copied nor cast"


def test_files_from_before_batch_counters_are_completed():
    module = net()
    state = {key: value for key, value in module.state_dict().items() if not key.endswith("tracked")}
    before = dict(state)
    fitted = fit_state(state, module, "a.pt")
    assert set(fitted) - set(state) == {"1.num_batches_tracked"}
    assert fitted["1.num_batches_tracked"] == 0 and fitted["1.num_batches_tracked"].dtype == torch.int64
    assert state == before
    module.load_state_dict(fitted)


def test_a_tied_tensor_that_was_saved_once_is_found():
    module = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    module["head"].weight = module["embed"].weight
    state = {"embed.weight": torch.randn(5, 3)}
    fitted = fit_state(state, module, "a.pt")
    assert fitted["head.weight"] is state["embed.weight"]


def test_untied_tensors_of_equal_shape_are_not_taken_for_each_other():
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    with pytest.raises(MismatchError, match=r"missing \(1\): 1\.weight"):
        fit_state({"0.weight": torch.zeros(3, 3)}, module, "a.pt")


def test_every_kind_of_mismatch_is_listed_with_the_nearest_name():
    state = dict(net().state_dict())
    state["2.wieght"] = state.pop("2.weight")
    state["0.bias"] = torch.zeros(7)
    with pytest.raises(MismatchError) as caught:
        fit_state(state, net(), "weights.pt")
    message = str(caught.value)
    assert message.startswith("weights.pt")
    assert "missing (1): 2.weight (2, 3) (near: 2.wieght)" in message
    assert "unexpected (1): 2.wieght (2, 3) (near: 2.weight)" in message
    assert "0.bias is (7,), needed (3,)" in message
    assert caught.value.exit_code == 3


def test_long_lists_are_cut():
    state = {f"layer{i}.weight": torch.zeros(1) for i in range(50)}
    with pytest.raises(MismatchError, match="and 42 more") as caught:
        fit_state(state, net(), "weights.pt")
    assert len(str(caught.value).splitlines()) <= 6
