"""What is read only when asked for: pickles, quantised weights, adapters; and what is left out."""

from __future__ import annotations

import pickle
import sys

import pytest
import safetensors.torch
import torch
from torch import nn

from lmc._errors import CheckpointError, MismatchError
from lmc.checkpoints import load, merge, save
from lmc.cli import main


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"epoch": 3, "net": m}], ids=["module", "in a dict"])
@pytest.mark.parametrize("write", [torch.save, lambda m, p: p.write_bytes(pickle.dumps(m))], ids=["torch", "pickle"])
def test_a_pickled_module_is_opened_only_when_it_is_trusted(tmp_path, write, wrap):
    path, module = tmp_path / "whole.pt", network()
    write(wrap(module), path)
    with pytest.raises(CheckpointError):
        load(path)
    checkpoint = load(path, trust_pickle=True)
    assert checkpoint.metadata["unpickled"]
    assert {name: t.tolist() for name, t in checkpoint.state.items()} == {
        name: t.tolist() for name, t in module.state_dict().items()
    }


def test_trust_is_for_the_named_file_only(tmp_path, capsys):
    for name in "ab":
        torch.save(network(), tmp_path / f"{name}.pt")
    files = [str(tmp_path / f"{name}.pt") for name in "ab"]
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *files, "--trust-pickle", files[0]])
    assert ended.value.code == 3
    told = capsys.readouterr()
    assert "a.pt" in told.out and "b.pt" not in told.out
    assert "b.pt holds an object of class torch.nn" in told.err


def test_a_pickle_whose_classes_are_not_here_says_so(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import elsewhere  # pyright: ignore[reportMissingImports]

    torch.save(elsewhere.Net(2, 3), tmp_path / "w.pt")
    monkeypatch.undo()
    sys.modules.pop("elsewhere")
    with pytest.raises(CheckpointError, match=r"No module named 'elsewhere'(?s:.*)PYTHONPATH"):
        load(tmp_path / "w.pt", trust_pickle=True)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_weights_are_widened_on_demand(tmp_path):
    weight = torch.linspace(-1, 1, 12).reshape(3, 4)
    torch.save({"w": torch.quantize_per_tensor(weight, 0.01, 0, torch.qint8)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="--dequantize"):
        load(tmp_path / "w.pt")
    torch.testing.assert_close(load(tmp_path / "w.pt", dequantize=True).state["w"], weight, atol=0.0051, rtol=0)


@pytest.fixture
def adapter(tmp_path):
    """A base network, and a folder with a low-rank change of its first layer."""
    save(network().state_dict(), tmp_path / "base.safetensors")
    torch.manual_seed(1)
    low = {"A": torch.randn(2, 6), "B": torch.randn(5, 2)}
    folder = tmp_path / "adapter"
    folder.mkdir()
    named = {f"base_model.model.0.lora_{side}.weight": matrix for side, matrix in low.items()}
    safetensors.torch.save_file(named, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"lora_alpha": 6, "r": 2, "base_model_name_or_path": "org/base"}')
    return tmp_path / "base.safetensors", folder, low


def test_an_adapter_is_named_and_merged_with_its_base(adapter, tmp_path, capsys):
    base, folder, low = adapter
    with pytest.raises(SystemExit) as ended:
        main(["barrier", str(base), str(folder), "--data", "digits"])
    assert ended.value.code == 3
    assert "LoRA adapter (rank 2, 1 matrices, of org/base)" in capsys.readouterr().err
    out = tmp_path / "merged.safetensors"
    main(["convert", str(folder), "--base", str(base), "-o", str(out)])
    merged, before = load(out).state, load(base).state
    torch.testing.assert_close(merged["0.weight"], before["0.weight"] + 3 * low["B"] @ low["A"])
    assert torch.equal(merged["2.weight"], before["2.weight"])


def test_an_adapter_of_another_network_is_refused(adapter, tmp_path):
    _, folder, _ = adapter
    save({"fc.weight": torch.ones(5, 6)}, tmp_path / "other.safetensors")
    with pytest.raises(MismatchError, match="fits no matrix"):
        merge(load(tmp_path / "other.safetensors"), load(folder))


def test_counts_of_metrics_are_left_out_and_named(tmp_path):
    counts = {"train_acc.tp": torch.zeros(3), "train_acc.fp": torch.zeros(3), "loss.total": torch.tensor(7.0)}
    tree = {"pytorch-lightning_version": "2.1.0", "state_dict": {**network().state_dict(), **counts}}
    torch.save(tree, tmp_path / "w.ckpt")
    checkpoint = load(tmp_path / "w.ckpt")
    assert checkpoint.metadata["left out"] == list(counts)
    assert list(checkpoint.state) == list(network().state_dict())


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"fc.weight": torch.tensor([[1.0, float("nan")]])}, "NaN or infinite weights in fc.weight"),
        ({"fc.weight": torch.tensor([[1.0, float("-inf")]]).half()}, "NaN or infinite"),
        ({"fc.weight": torch.ones(0, 3), "fc.bias": torch.ones(2)}, "spread over devices"),
    ],
)
def test_inspect_shows_what_is_unusable_and_ends_with_three(tmp_path, capsys, state, reason):
    save(state, tmp_path / "w.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(tmp_path / "w.safetensors")])
    told = capsys.readouterr()
    assert ended.value.code == 3
    assert "fc.weight" in told.out
    assert reason in told.err
