"""What JAX wrote: torch twins with the weights that were read compute the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmc._errors import CheckpointError
from lmc.checkpoints import load

# jax and what saves its trees warn about each other's versions.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def network():
    """A Flax network with every weight drawn anew: variables, inputs, outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax, flax = pytest.importorskip("jax"), pytest.importorskip("flax")
        from flax import linen

        class Net(linen.Module):
            @linen.compact
            def __call__(self, x):
                x = linen.relu(linen.Conv(4, (3, 3), padding="VALID")(x))
                x = linen.BatchNorm(use_running_average=True, epsilon=1e-5)(x)
                x = linen.relu(linen.Conv(5, (3, 3), padding="VALID")(x))
                x = x.reshape((x.shape[0], -1))
                x = linen.relu(linen.Dense(6)(x))
                return linen.Dense(2)(x)

        net = Net()
        variables = net.init(jax.random.PRNGKey(0), np.zeros((1, 8, 8, 3), np.float32))
        generator = np.random.default_rng(0)
        variables = jax.tree.map(lambda a: generator.uniform(0.1, 0.9, a.shape).astype(np.float32), variables)
        x = generator.uniform(size=(3, 8, 8, 3)).astype(np.float32)
        return flax, variables, torch.from_numpy(x), torch.from_numpy(np.array(net.apply(variables, x)))


def assert_twin_computes_the_same(state, x, wanted):
    y = F.relu(F.conv2d(x.permute(0, 3, 1, 2), state["Conv_0.weight"], state["Conv_0.bias"]))
    y = F.batch_norm(y, *(state[f"BatchNorm_0.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))
    y = F.relu(F.conv2d(y, state["Conv_1.weight"], state["Conv_1.bias"])).flatten(1)
    y = F.relu(F.linear(y, state["Dense_0.weight"], state["Dense_0.bias"]))
    y = F.linear(y, state["Dense_1.weight"], state["Dense_1.bias"])
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)


def test_flax_msgpack(tmp_path, network):
    flax, variables, x, wanted = network
    (tmp_path / "m.msgpack").write_bytes(flax.serialization.to_bytes(variables))
    checkpoint = load(tmp_path / "m.msgpack")
    assert checkpoint.metadata["format"] == "Flax msgpack"
    assert "assumed" in checkpoint.metadata["reordered"]["Dense_0.weight"]
    assert "Dense_1.weight" not in checkpoint.metadata["reordered"]
    assert_twin_computes_the_same(checkpoint.state, x, wanted)


def test_flax_is_found_by_content(tmp_path, network):
    flax, variables, x, wanted = network
    (tmp_path / "m.bin").write_bytes(flax.serialization.to_bytes(variables))
    assert_twin_computes_the_same(load(tmp_path / "m.bin").state, x, wanted)


def test_orbax_folder(tmp_path, network):
    _, variables, x, wanted = network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        orbax = pytest.importorskip("orbax.checkpoint")
        orbax.PyTreeCheckpointer().save(tmp_path / "ckpt", variables)
    checkpoint = load(tmp_path / "ckpt")
    assert checkpoint.metadata["format"] == "Orbax"
    assert_twin_computes_the_same(checkpoint.state, x, wanted)


def test_npz_of_jax_arrays(tmp_path, network):
    flax, variables, x, wanted = network
    flat = {"/".join(key): value for key, value in flax.traverse_util.flatten_dict(variables).items()}
    np.savez(tmp_path / "m.npz", **flat)
    assert_twin_computes_the_same(load(tmp_path / "m.npz").state, x, wanted)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, network, share):
    flax, variables, *_ = network
    whole = flax.serialization.to_bytes(variables)
    (tmp_path / "cut.msgpack").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="Flax"):
        load(tmp_path / "cut.msgpack")


def test_an_orbax_folder_without_its_arrays_is_refused(tmp_path):
    pytest.importorskip("tensorstore")
    key = '{"key_metadata": [{"key": "w", "key_type": 2}], "value_metadata": {"value_type": "jax.Array"}}'
    (tmp_path / "_METADATA").write_text(f'{{"tree_metadata": {{"w": {key}}}}}')
    with pytest.raises(CheckpointError, match="Orbax folder"):
        load(tmp_path)
