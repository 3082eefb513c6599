"""Two checkpoints of one network whose files name it differently, or store it in half; and what is written back."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from torch import nn

from lmc._errors import MismatchError, UsageError
from lmc.checkpoints import load
from lmc.cli import main
from lmc.pipeline import load_pair

WIDTHS = (6, 5, 5, 3)


def mlp(names, seed):
    torch.manual_seed(seed)
    module = nn.Module()
    for name, inputs, outputs in zip(names, WIDTHS, WIDTHS[1:], strict=False):
        module.add_module(name, nn.Linear(inputs, outputs))
    return module


@pytest.fixture
def files(tmp_path):
    """A under the usual names, B of a fork that renamed its layers."""
    torch.save(mlp(("fc1", "fc2", "fc3"), 0).state_dict(), tmp_path / "a.pt")
    torch.save({"net": mlp(("linear1", "linear2", "out"), 1).half().state_dict()}, tmp_path / "b.pt")
    return tmp_path / "a.pt", tmp_path / "b.pt"


def test_names_are_matched_and_half_weights_compared_in_float32(files):
    pair = load_pair(*files)
    own = load(files[1]).state
    assert pair.b.renamed["fc3.weight"] == "out.weight"
    assert all(tensor.dtype == torch.float32 for tensor in pair.b.state.values())
    assert torch.equal(pair.b.state["fc2.weight"], own["linear2.weight"].float())
    assert pair.attrs()["b_renamed"]["fc1.bias"] == "linear1.bias"
    assert "a_renamed" not in pair.attrs()


def test_aligned_weights_go_back_under_their_own_names_and_types(files, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    main(["align", str(files[0]), str(files[1]), "-o", str(out)])
    assert "names matched: linear1 = fc1, linear2 = fc2, out = fc3" in capsys.readouterr().out
    strict = mlp(("linear1", "linear2", "out"), 2).half()
    strict.load_state_dict(safetensors.torch.load_file(out), strict=True)
    written = load(out).state
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    mine, theirs = (sorted(s["linear1.bias"].tolist()) for s in (written, load(files[1]).state))
    assert mine == theirs


def test_a_map_overrides_the_order(files, tmp_path):
    (tmp_path / "names.toml").write_text(
        '"linear2.weight" = "fc2.weight"\n"linear2.bias" = "fc2.bias"\n"linear1.bias" = "fc1.bias"\n'
        '"linear1.weight" = "fc1.weight"\n"out.weight" = "fc3.weight"\n"out.bias" = "fc3.bias"\n'
    )
    pair = load_pair(*files, mapping=tmp_path / "names.toml")
    assert pair.b.renamed["fc1.weight"] == "linear1.weight"
    assert set(pair.b.as_written(pair.b.state)) == set(load(files[1]).state)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('"linear9.weight" = "fc1.weight"', UsageError, r"no checkpoint has .* Did you mean 'linear"),
        ("names", UsageError, "cannot be read as TOML"),
        ("[linear1]\nweight = 'fc1.weight'", UsageError, "no pair of names"),
        ('"linear1.bias" = "linear2.bias"', MismatchError, "two tensors"),
    ],
)
def test_a_wrong_map_is_refused(files, tmp_path, text, error, message):
    (tmp_path / "names.toml").write_text(text)
    with pytest.raises(error, match=message):
        load_pair(*files, mapping=tmp_path / "names.toml")


def test_the_network_may_be_known_by_b_alone(tmp_path):
    state = mlp(("fc1", "fc2", "fc3"), 0).state_dict()
    torch.save({str(i): t for i, t in enumerate(state.values())}, tmp_path / "a.pt")
    torch.save(mlp(("fc1", "fc2", "fc3"), 1).state_dict(), tmp_path / "b.pt")
    pair = load_pair(tmp_path / "a.pt", tmp_path / "b.pt")
    assert "that of B" in pair.a.architecture.assumptions[-1]
    assert torch.equal(pair.a.state["fc2.weight"], state["fc2.weight"])


def test_unequal_widths_name_the_command_for_them(files, tmp_path):
    torch.save({"fc1.weight": torch.ones(7, 6)}, tmp_path / "c.pt")
    with pytest.raises(MismatchError, match="lmc fuse"):
        load_pair(files[0], tmp_path / "c.pt")


def test_convert_records_where_the_weights_came_from(files, tmp_path, capsys):
    out = tmp_path / "b.safetensors"
    main(["convert", str(files[1]), "-o", str(out)])
    assert "weights under 'net'" in capsys.readouterr().out
    converted, own = load(out), load(files[1])
    assert converted.metadata["lmc"]["converted"]["sha256"] == own.digest
    assert converted.metadata["lmc"]["converted"]["unwrapped"] == "net"
    assert all(torch.equal(converted.state[name], tensor) for name, tensor in own.state.items())


def test_inspect_of_several_is_a_table(files, tmp_path, capsys):
    main(["convert", str(files[0]), "-o", str(tmp_path / "copy.safetensors")])
    capsys.readouterr()
    main(["inspect", *map(str, files), str(tmp_path / "copy.safetensors")])
    head, a, b, copy = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "network", "parameters", "layout", "cosine", "sha256"]
    assert "mlp 6-5-5-3" in a and "same weights" not in a
    assert " 2 " in b
    assert "1.0000" in copy and copy.endswith(f"same weights as {files[0]}")
    main(["inspect", *map(str, files), "--json"])
    assert [row["layout"] for row in json.loads(capsys.readouterr().out)] == [1, 2]
