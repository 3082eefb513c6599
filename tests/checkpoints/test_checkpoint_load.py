"""What loads, and what a checkpoint then says about itself."""

from __future__ import annotations

import argparse
import collections
import datetime
import hashlib
import io
import json
import pathlib
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc._errors import CheckpointError, MismatchError
from lmc.checkpoints import Checkpoint, describe, load

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


@pytest.fixture(params=FORMATS)
def write(request, tmp_path):
    """Write anything with torch.save, in either of its formats."""

    def write(tree: object) -> Path:
        path = tmp_path / "weights.pt"
        torch.save(tree, path, **FORMATS[request.param])
        return path

    return write


def weights(seed: int = 0, prefix: str = "") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"fc1.weight": (3, 4), "fc1.bias": (3,), "fc2.weight": (2, 3)}
    return {prefix + name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_a_bare_state_dict_keeps_names_order_and_values(write):
    path = write(weights())
    checkpoint = load(path)
    assert_same(checkpoint.state, weights())
    assert checkpoint.metadata["unwrapped"] is None
    assert checkpoint.metadata["stripped"] is None
    assert checkpoint.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.source == str(path)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model_state", "model", "net", "state", "anything"])
def test_the_one_state_dict_under_a_wrapper_is_found_and_named(write, key):
    checkpoint = load(write({"epoch": 3, key: weights(), "losses": [1.0, 0.5]}))
    assert_same(checkpoint.state, weights())
    assert checkpoint.metadata["unwrapped"] == key
    assert checkpoint.metadata["recorded"] == {"epoch": 3, "losses": [1.0, 0.5]}


def test_nested_wrappers_are_named_by_their_path(write):
    checkpoint = load(write({"checkpoint": {"model": weights(), "step": 7}}))
    assert checkpoint.metadata["unwrapped"] == "checkpoint.model"
    assert checkpoint.metadata["recorded"] == {"checkpoint": {"step": 7}}


def test_two_state_dicts_are_refused_until_one_is_named(write):
    path = write({"model": weights(0), "ema": weights(1)})
    with pytest.raises(CheckpointError, match=r"2 state dicts: 'model' \(3 tensors\), 'ema' \(3 tensors\)"):
        load(path)
    assert_same(load(path, entry="ema").state, weights(1))
    with pytest.raises(CheckpointError, match="Did you mean 'model'"):
        load(path, entry="modle")


def test_one_state_dict_under_two_keys_is_one(write):
    state = weights()
    assert load(write({"model": state, "state_dict": state})).metadata["unwrapped"] == "model"


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adadelta])
def test_an_optimizer_is_never_taken_for_weights(write, optimizer):
    model = torch.nn.Linear(3, 2)
    steps = optimizer(model.parameters(), lr=0.1, **({"momentum": 0.9} if optimizer is torch.optim.SGD else {}))
    model(torch.ones(1, 3)).sum().backward()
    steps.step()
    whole = {"optimizer": steps.state_dict(), "moments": dict(steps.state_dict()["state"]), "net": model.state_dict()}
    assert_same(load(write(whole)).state, dict(model.state_dict()))
    for alone in (steps.state_dict(), {"optimizer": steps.state_dict()}, steps.state_dict()["state"]):
        with pytest.raises(CheckpointError, match="optimizer's state"):
            load(write(alone))


@pytest.mark.parametrize(
    ("prefix", "stripped"),
    [("module.", "module."), ("_orig_mod.", "_orig_mod."), ("module._orig_mod.module.", "module._orig_mod.module.")],
)
def test_prefixes_of_wrappers_are_stripped_and_recorded(write, prefix, stripped):
    checkpoint = load(write({"net": weights(prefix=prefix)}))
    assert_same(checkpoint.state, weights())
    assert checkpoint.metadata["stripped"] == stripped


def test_hyperparameters_of_lightning_come_as_a_plain_dict(write, monkeypatch):
    module = types.ModuleType("pytorch_lightning.utilities.parsing")
    attributes = type("AttributeDict", (dict,), {"__module__": module.__name__})
    module.AttributeDict = attributes
    for name in ("pytorch_lightning", "pytorch_lightning.utilities", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    tree = {"state_dict": {"fc.weight": torch.ones(3, 4)}, "hyper_parameters": attributes(lr=0.1, width=3)}
    path = write(tree)
    for name in ("pytorch_lightning", "pytorch_lightning.utilities", module.__name__):
        monkeypatch.delitem(sys.modules, name)
    assert load(path).metadata["recorded"]["hyper_parameters"] == {"lr": 0.1, "width": 3}


@pytest.mark.parametrize("prefix", ["model.", "net."])
def test_names_that_belong_to_the_network_stay(write, prefix):
    assert list(load(write(weights(prefix=prefix))).state) == list(weights(prefix=prefix))


def test_a_prefix_that_one_name_lacks_stays(write):
    mixed = weights(prefix="module.") | {"scale": torch.ones(1)}
    assert list(load(write(mixed)).state) == list(mixed)


def test_plain_values_beside_the_weights_are_kept_and_large_ones_dropped(write):
    beside = {
        "epoch": 4,
        "accuracy": np.float64(0.97),
        "best": torch.tensor(0.25),
        "args": argparse.Namespace(lr=0.1, name="run", layers=[784, 10], folder=pathlib.PurePosixPath("/data")),
        "dtype": np.dtype("float32"),
        "history": list(range(1000)),
        "confusion": np.eye(3, dtype=np.int64),
        "note": "x" * 10_000,
        "when": datetime.datetime(2024, 1, 2),
        "counts": collections.OrderedDict(a=1),
    }
    checkpoint = load(write({**beside, "net": weights()}))
    assert checkpoint.metadata["recorded"] == {
        "epoch": 4,
        "accuracy": 0.97,
        "best": 0.25,
        "args": {"lr": 0.1, "name": "run", "layers": [784, 10]},
        "counts": {"a": 1},
    }


def test_plain_values_among_the_weights_do_not_hide_them(write):
    checkpoint = load(write(weights() | {"epoch": 3, "bn.num_batches_tracked": torch.tensor(9)}))
    assert list(checkpoint.state) == [*weights(), "bn.num_batches_tracked"]
    assert checkpoint.metadata["recorded"] == {"epoch": 3}


def test_parameters_come_back_as_plain_tensors(write):
    state = {name: torch.nn.Parameter(tensor) for name, tensor in weights().items()}
    for tensor in load(write(state)).state.values():
        assert type(tensor) is torch.Tensor
        assert not tensor.requires_grad


def test_tied_tensors_stay_one_and_count_once(write):
    table = torch.arange(12.0).reshape(4, 3)
    state = {"wte.weight": table, "norm.weight": torch.ones(3), "head.weight": table, "wte.part": table[1:]}
    checkpoint = load(write(state))
    assert checkpoint.metadata["ties"] == [["wte.weight", "head.weight"]]
    assert checkpoint.state["wte.weight"].data_ptr() == checkpoint.state["head.weight"].data_ptr()
    assert checkpoint.parameters == 12 + 3 + 9


def test_empty_tensors_are_not_ties(write):
    checkpoint = load(write(weights() | {"a": torch.empty(0, 3), "b": torch.empty(0, 3)}))
    assert checkpoint.metadata["ties"] == []
    assert checkpoint.state["a"].shape == (0, 3)


def test_statistics_are_no_parameters_and_the_repr_is_short(write):
    checkpoint = load(write({"net": torch.nn.DataParallel(torch.nn.BatchNorm1d(5)).state_dict()}))
    assert checkpoint.parameters == 10
    expected = "Checkpoint('weights.pt': 5 tensors, 10 parameters, weights under 'net', prefix 'module.' stripped)"
    assert repr(checkpoint) == expected


def test_the_description_is_json(write):
    checkpoint = load(write({"net": weights(), "accuracy": np.float32(0.5)}))
    found = json.loads(json.dumps(describe(checkpoint)))
    assert found["tensors"][0] == {"name": "fc1.weight", "shape": [3, 4], "dtype": "float32"}
    assert found["parameters"] == 21
    assert found["unwrapped"] == "net"
    assert found["framework"] == "torch"
    assert found["digest"] == checkpoint.digest


def test_formats_are_found_by_content_whatever_the_extension(tmp_path):
    for name, options in FORMATS.items():
        path = tmp_path / f"{name}.safetensors"
        torch.save(weights(), path, **options)
        assert load(path).metadata["format"] == f"torch {name}"


def test_loading_leaves_no_class_registered_and_no_tensor_changed(write):
    before = set(map(str, torch.serialization.get_safe_globals()))
    load(write({"args": argparse.Namespace(a=1), "net": weights()}))
    assert set(map(str, torch.serialization.get_safe_globals())) == before


def test_new_values_are_written_under_the_old_names_types_and_ties():
    tied = torch.ones(2, dtype=torch.float16)
    metadata = {"stripped": "module.", "ties": [["a", "b"], ["c", "d"]]}
    state = {"b": tied, "a": tied, "c": torch.zeros(1), "d": torch.zeros(1)}
    checkpoint = Checkpoint(state, "x.pt", "", metadata)
    new = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([3.0, 4.0]), "c": torch.ones(1), "d": torch.zeros(1)}
    written = checkpoint.as_written(new | {"extra": torch.ones(1)})
    assert list(written) == ["module.b", "module.a", "module.c", "module.d"]
    assert written["module.a"].dtype == torch.float16
    assert written["module.a"] is written["module.b"]
    assert written["module.d"].item() == 0, "values that differ are no tie any more"
    with pytest.raises(MismatchError, match=r"No values for 1 of the 4 tensors of x\.pt: 'd'"):
        checkpoint.as_written({name: new[name] for name in "abc"})


@pytest.mark.shared
def test_every_checkpoint_of_other_people_loads(shared_data):
    files = [path for path in (shared_data / "checkpoints").glob("*/*") if path.parent.name != "bad"]
    assert len(files) > 40
    for path in files:
        assert load(path).parameters > 5_000, path


@pytest.mark.shared
def test_what_other_people_wrapped_tied_and_recorded(shared_data):
    folder = shared_data / "checkpoints"
    published = load(folder / "otfusion-mnist-mlp/0.checkpoint")
    assert published.metadata["unwrapped"] == "model_state_dict"
    assert published.metadata["recorded"]["test_accuracy"] == 97.72
    assert published.metadata["recorded"]["args"]["num_hidden_nodes"] == 400
    assert load(folder / "resnet20-cifar10/a.th").metadata["stripped"] == "module."
    assert load(folder / "gpt-tied/ckpt.pt").metadata["ties"] == [["transformer.wte.weight", "lm_head.weight"]]
    assert load(folder / "lightning-mlp/b-pl2.1.ckpt").metadata["versions"]["lightning"] == "2.1.0"
    assert load(folder / "odd/numpy-scalar-inside.pth").parameters == 21_840


@pytest.mark.shared
def test_a_policy_unpacked_as_its_refusal_says_loads(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "checkpoints/sb3-cartpole/ppo.zip") as archive:
        (tmp_path / "policy.pth").write_bytes(io.BytesIO(archive.read("policy.pth")).getvalue())
    assert load(tmp_path / "policy.pth").parameters > 5_000
