"""Every way torch and its neighbours keep weights gives the same weights back, and runs nothing on the way."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from lmc._errors import CheckpointError
from lmc.checkpoints import load


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    layers[1].running_mean.normal_()
    return layers.eval()


@pytest.fixture
def inputs():
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def assert_same_outputs(network, inputs, checkpoint, tolerance=1e-6):
    wanted = network(inputs)
    twin = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    twin.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in checkpoint.state.items()})
    assert list(checkpoint.state) == list(network.state_dict())
    torch.testing.assert_close(twin(inputs), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, "trace"])
def test_torchscript(tmp_path, network, inputs, make):
    compiled = torch.jit.trace(network, inputs) if make == "trace" else make(network)
    torch.jit.save(compiled, tmp_path / "m.pt")
    checkpoint = load(tmp_path / "m.pt")
    assert checkpoint.metadata["format"] == "TorchScript"
    checkpoint.state.pop("1.num_batches_tracked", None)
    state = {**checkpoint.state, "1.num_batches_tracked": torch.tensor(0)}
    network.load_state_dict(state, strict=True)
    for name, tensor in checkpoint.state.items():
        assert torch.equal(tensor, compiled.state_dict()[name]), name


def test_torch_export(tmp_path, network, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (inputs,)), tmp_path / "m.pt2")
    checkpoint = load(tmp_path / "m.pt2")
    assert checkpoint.metadata["format"] == "torch.export"
    assert {n: t.tolist() for n, t in checkpoint.state.items()} == {
        n: t.tolist() for n, t in network.state_dict().items()
    }


def save_distributed(tree, folder):
    from torch.distributed import checkpoint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(tree, checkpoint_id=str(folder), no_dist=True)


def test_distributed_folder(tmp_path, network, inputs):
    save_distributed({"model": network.state_dict(), "epoch": 3}, tmp_path / "dcp")
    checkpoint = load(tmp_path / "dcp")
    assert checkpoint.metadata["unwrapped"] == "model"
    assert checkpoint.metadata["left out"] == ["epoch"]
    assert_same_outputs(network, inputs, checkpoint)


def test_distributed_index_makes_nothing_else(tmp_path, network):
    save_distributed(network.state_dict(), tmp_path / "dcp")

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "dcp" / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="refers to posix"):
        load(tmp_path / "dcp")
    assert not (tmp_path / "made").exists()


def test_torchscript_pickle_makes_nothing_else(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Evil()))
        archive.writestr("m/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="refers to posix"):
        load(tmp_path / "m.pt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("named", ["index", "folder"])
def test_shards(tmp_path, network, inputs, kind, named):
    state = network.state_dict()
    names = list(state)
    stem = "model" if kind == "safetensors" else "pytorch_model"
    weight_map = {}
    for i, part in enumerate((names[:3], names[3:])):
        file = f"{stem}-{i + 1:05}-of-00002.{kind}"
        save = safetensors.torch.save_file if kind == "safetensors" else torch.save
        save({name: state[name] for name in part}, tmp_path / file)
        weight_map |= dict.fromkeys(part, file)
    index = tmp_path / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (tmp_path / "config.json").write_text('{"model_type": "tiny"}')
    checkpoint = load(index if named == "index" else tmp_path)
    assert_same_outputs(network, inputs, checkpoint)
    files = [index, *(tmp_path / file for file in set(weight_map.values()))]
    lines = sorted((f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files)
    listing = "".join(f"{digest}  {name}\n" for name, digest in lines)
    assert checkpoint.digest == hashlib.sha256(listing.encode()).hexdigest()
    if named == "folder":
        assert checkpoint.metadata["config"] == {"model_type": "tiny"}


@pytest.mark.parametrize(
    ("shard", "reason"), [("../secret.safetensors", "outside its folder"), ("lost.safetensors", "which is missing")]
)
def test_index_of_shards_stays_in_its_folder(tmp_path, shard, reason):
    safetensors.torch.save_file({"w": torch.ones(2, 2)}, tmp_path / "secret.safetensors")
    (tmp_path / "run").mkdir()
    index = tmp_path / "run" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CheckpointError, match=reason):
        load(index)


def test_npz(tmp_path, network, inputs):
    np.savez_compressed(tmp_path / "w.npz", **{name: t.numpy() for name, t in network.state_dict().items()})
    assert_same_outputs(network, inputs, load(tmp_path / "w.npz"))


def test_npz_of_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{"b": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="no array of numbers"):
        load(tmp_path / "w.npz")


def test_npz_bomb_is_refused_by_its_sizes(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.npy", "w") as out:
        out.write(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (100000000,), }")
        for _ in range(400):
            out.write(bytes(2**20))
    with pytest.raises(CheckpointError, match="zip bomb"):
        load(tmp_path / "w.npz")


def test_npz_header_may_not_claim_what_is_not_there(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(CheckpointError, match="unpack to 4,000,000,000,000 bytes"):
        load(tmp_path / "w.npz")


def test_onnx_matrices_come_in_torchs_layout(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    w1, w2 = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(12, dtype=np.float32).reshape(4, 3)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Gemm", ["h", "b"], ["y"], transB=1)]
    ends = [helper.make_tensor_value_info(name, real, ["n", size]) for name, size in (("x", 2), ("y", 4))]
    arrays = [onnx.numpy_helper.from_array(w1, "a"), onnx.numpy_helper.from_array(w2, "b")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)
    onnx.save(helper.make_model(graph), tmp_path / "m.bin")
    checkpoint = load(tmp_path / "m.bin")
    assert checkpoint.metadata["format"] == "ONNX"
    assert torch.equal(checkpoint.state["a"], torch.from_numpy(w1.T.copy()))
    assert torch.equal(checkpoint.state["b"], torch.from_numpy(w2))
    assert checkpoint.metadata["transposed"] == ["a"]


@pytest.mark.shared
def test_onnx_twin_is_bit_equal(shared_data):
    pytest.importorskip("onnx")
    folder = shared_data / "checkpoints" / "resnet-cifar-tutorial"
    ours, twin = load(folder / "a.ckpt"), load(folder / "a.onnx")
    assert len(ours.state) == len(twin.state)
    for one, other in zip(ours.state.values(), twin.state.values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "version"), [("a2c", "2.4.0a11"), ("ppo", "1.0rc0")])
def test_stable_baselines(shared_data, name, version):
    checkpoint = load(shared_data / "checkpoints" / "sb3-cartpole" / f"{name}.zip")
    assert checkpoint.metadata["versions"]["stable-baselines3"] == version
    assert checkpoint.state["mlp_extractor.policy_net.0.weight"].shape == (64, 4)
    assert checkpoint.parameters == 9155


def test_npz_of_the_other_byte_order(tmp_path, network, inputs):
    arrays = {name: t.numpy().astype(t.numpy().dtype.newbyteorder(">")) for name, t in network.state_dict().items()}
    np.savez(tmp_path / "w.npz", **arrays)
    assert_same_outputs(network, inputs, load(tmp_path / "w.npz"))
