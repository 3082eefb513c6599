"""Weights are matched to the module before anything is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lmc._errors import MismatchError
from lmc.architectures import NETWORKS, fit_state
from lmc.architectures.naming import match_names


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
    state = {f"layer{i}.weight": torch.zeros(1) for i in range(50)} | dict(net().state_dict())
    with pytest.raises(MismatchError, match="and 42 more") as caught:
        fit_state(state, net(), "weights.pt")
    assert len(str(caught.value).splitlines()) <= 6


def test_weights_of_another_architecture_are_called_that():
    mlp, cnn = NETWORKS["mlp"](), NETWORKS["cnn-bn"]()
    for state, module, found in ((cnn, mlp, "cnn-bn 16-32 channels, 5x5"), (mlp, cnn, "mlp 784-64-64-10")):
        with pytest.raises(MismatchError, match="look like another architecture") as caught:
            fit_state(state.state_dict(), module, "b.pt")
        (line,) = str(caught.value).splitlines()
        assert f"recognised as {found}; the network is {module.describe()}" in line
        names = list(state.state_dict())
        assert all(name in line for name in names[:3]) and names[3] not in line
    with pytest.raises(MismatchError, match=r"another architecture; the network is Sequential\. 1 of 1 names"):
        fit_state({"scale": torch.ones(2)}, net(), "b.pt")


@pytest.mark.parametrize("prefix", ["net.", "net.0."])
def test_one_prefix_too_many_or_too_few_is_taken_away_or_put_there(prefix):
    module = net()
    wrapped = nn.Module()
    wrapped.net = nn.Sequential(module) if prefix == "net.0." else module
    many = fit_state(wrapped.state_dict(), module, "b.pt")
    assert all(many[name] is tensor or torch.equal(many[name], tensor) for name, tensor in module.state_dict().items())
    old = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    few = fit_state(old, wrapped, "b.pt")
    assert all(few[prefix + name] is old[name] for name in old)


def test_other_names_are_matched_in_order_where_the_shapes_agree():
    module = net()
    values = list(module.state_dict().values())
    fitted = fit_state({str(i + 1): value for i, value in enumerate(values)}, module, "twin.onnx")
    assert all(torch.equal(one, other) for one, other in zip(fitted.values(), values, strict=True))


def deep(names):
    module = nn.Module()
    for name in names:
        module.add_module(name, nn.Linear(3, 3))
    return module


def test_a_file_sorted_by_letter_gets_its_order_back():
    names = [f"fc{i}" for i in range(1, 13)]
    module, fork = deep(names), deep([f"linear{i}" for i in range(1, 13)])
    by_letter = dict(sorted(fork.state_dict().items()))
    assert next(iter(by_letter)) == "linear1.bias" and list(by_letter)[2] == "linear10.bias"
    fitted = fit_state(by_letter, module, "b.safetensors")
    assert all(fitted[f"fc{i}.weight"] is by_letter[f"linear{i}.weight"] for i in range(1, 13))


def test_a_renamed_layer_among_others_is_found():
    module, fork = deep(["conv1", "conv2"]), deep(["conv", "conv2"])
    fitted = fit_state(fork.state_dict(), module, "b.pt")
    assert torch.equal(fitted["conv1.weight"], fork.conv.weight) and torch.equal(fitted["conv2.bias"], fork.conv2.bias)


def test_a_bias_never_takes_the_place_of_a_weight():
    module = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    state = {"norm.bias": torch.zeros(3), "norm.weight": torch.ones(3)}
    fitted = fit_state(state, module, "b.pt")
    assert fitted["0.weight"] is state["norm.weight"] and fitted["0.bias"] is state["norm.bias"]
    assert match_names({"norm.bias": torch.zeros(3), "norm.scale": torch.ones(3)}, module.state_dict()) is None


def test_too_few_tensors_are_not_guessed():
    with pytest.raises(MismatchError, match="--map"):
        fit_state({"a.weight": torch.zeros(3, 3), "a.bias": torch.zeros(3), "x": torch.zeros(3)}, deep("ab"), "b.pt")
