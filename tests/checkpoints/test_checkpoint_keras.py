"""Keras models, saved by Keras itself: torch twins with the weights that were read compute the same."""

from __future__ import annotations

import io
import os
import warnings
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmc._errors import CheckpointError
from lmc.architectures import fit_state, resolve
from lmc.checkpoints import load
from lmc.datasets import open_data

# Keras's own use of NumPy warns on every read of a weight.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def keras():
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


def saved(keras, model, path):
    """Save with every weight drawn anew, so that zeros and ones hide nothing; return inputs, outputs and weights."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.1, 0.9, w.shape).astype(np.float32) for w in model.get_weights()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls .h5 old
        model.save(path)
    shape = tuple(size or 3 for size in model.input_shape)
    x = generator.uniform(size=shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = model(x).detach().numpy()
    return torch.from_numpy(x), torch.from_numpy(np.array(y)), load(path).state


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=["m.keras", "m.h5"])
def path(tmp_path, request):
    return tmp_path / request.param


def test_images(keras, path):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.BatchNormalization(epsilon=1e-5),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.Conv2D(5, 2, use_bias=False),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(6, activation="relu"),
            layers.Dense(2, name="last"),
        ]
    )
    x, wanted, state = saved(keras, model, path)
    names = [name.rpartition(".")[0] for name in state if name.endswith(".weight")]
    first, norm, depthwise, conv, dense, last = names
    assert first == "first" and last == "last"
    y = F.relu(F.conv2d(x.permute(0, 3, 1, 2), state["first.weight"], state["first.bias"]))
    y = F.batch_norm(y, *(state[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))
    y = F.conv2d(y, state[f"{depthwise}.weight"], state[f"{depthwise}.bias"], groups=4)
    y = F.conv2d(y, state[f"{conv}.weight"]).flatten(1)
    y = F.relu(F.linear(y, state[f"{dense}.weight"], state[f"{dense}.bias"]))
    close(F.linear(y, state["last.weight"], state["last.bias"]), wanted)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers(keras, path, kind, bidirectional):
    layers = keras.layers
    cell = getattr(layers, kind)(4)
    cell = layers.Bidirectional(cell) if bidirectional else cell
    model = keras.Sequential([layers.Input((6, 3)), cell, layers.Dense(2, name="last")])
    x, wanted, state = saved(keras, model, path)
    twin = getattr(torch.nn, kind)(3, 4, batch_first=True, bidirectional=bidirectional)
    prefix = next(iter(state)).rpartition(".")[0]
    twin.load_state_dict({n.removeprefix(f"{prefix}."): t for n, t in state.items() if n.startswith(prefix)})
    _, hidden = twin(x)
    hidden = hidden[0] if kind == "LSTM" else hidden
    both = torch.cat(list(hidden), dim=-1)
    close(F.linear(both, state["last.weight"], state["last.bias"]), wanted)


def test_embeddings(keras, path):
    layers = keras.layers
    model = keras.Sequential([layers.Input((5,)), layers.Embedding(7, 3), layers.Dense(2, name="last")])
    model.set_weights([w + 0.5 for w in model.get_weights()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
        tokens = np.array([[0, 1, 2, 6, 5]])
        wanted = torch.from_numpy(np.array(model(tokens).detach()))
    state = load(path).state
    table = next(t for t in state.values() if t.shape == (7, 3))
    close(F.linear(table[torch.from_numpy(tokens)], state["last.weight"], state["last.bias"]), wanted)


def test_the_older_gru_is_refused(keras, path):
    layers = keras.layers
    model = keras.Sequential([layers.Input((6, 3)), layers.GRU(4, reset_after=False)])
    with pytest.raises(CheckpointError, match="reset_after=False"):
        saved(keras, model, path)


def test_links_out_of_the_file_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.ones((2, 2))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        group = file.create_group("dense")
        group["kernel"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/kernel")
        group.attrs["weight_names"] = ["kernel"]
        file.attrs["layer_names"] = ["dense"]
    with pytest.raises(CheckpointError, match="refers elsewhere"):
        load(tmp_path / "m.h5")


def test_a_dataset_that_unpacks_to_far_more_than_the_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        group = file.create_group("dense")
        group.create_dataset("kernel", (50_000, 50_000), "f4", chunks=(1000, 1000), compression="gzip")
        group.attrs["weight_names"] = ["kernel"]
        file.attrs["layer_names"] = ["dense"]
    with pytest.raises(CheckpointError, match="zip bomb"):
        load(tmp_path / "m.h5")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path, share):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["kernel"] = np.ones((200, 200))
    whole = (tmp_path / "m.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: int(share * len(whole))])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", whole[: int(share * len(whole))])
    (tmp_path / "cut.keras").write_bytes(stream.getvalue())
    for name in ("cut.h5", "cut.keras"):
        with pytest.raises(CheckpointError, match="Keras"):
            load(tmp_path / name)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "percent"), [("a.h5", 99.28), ("b.keras", 99.18)])
def test_keras_networks_of_others_reach_their_accuracy_without_a_model(shared_data, name, percent):
    checkpoint = load(shared_data / "checkpoints" / "keras-cnn" / name)
    data = open_data("mnist?normalize=none", data_dir=shared_data)
    found = resolve(None, checkpoint, input_shape=data.input_shape, num_classes=10)
    found.module.load_state_dict(fit_state(checkpoint.state, found.module, name))
    with torch.inference_mode():
        hits = sum(int((found.module(x).argmax(1) == y).sum()) for x, y in data.batches(500))
    assert 100 * hits / data.size == pytest.approx(percent, abs=0.02)
