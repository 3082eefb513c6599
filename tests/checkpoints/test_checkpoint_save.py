"""What is written opens everywhere, and comes back as it was."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmc._errors import CheckpointError, UsageError
from lmc.checkpoints import load, save, writing
from lmc.checkpoints.safetensors_files import DTYPES


class Tied(torch.nn.Module):
    """An embedding whose table is also the head's, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.table = torch.nn.Embedding(5, 3)
        self.table.weight = self.head.weight


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_type_round_trips_and_the_library_reads_it(tmp_path, dtype):
    values = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype)
    state = {"b.weight": torch.ones(3), "a": values, "scalar": values[0, 1], "empty": values[:0]}
    path = save(state, tmp_path / "w.safetensors")
    for found in (load(path).state, load_file(path)):
        assert set(found) == set(state)
        for name, tensor in state.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            assert bytes(found[name].contiguous().untyped_storage())[: tensor.nbytes] == writing._bytes(tensor)
    assert list(load(path).state) == list(state)


def test_equal_input_gives_equal_bytes(tmp_path):
    metadata = {"b": "1", "a": {"nested": True}, "lmc": {"model": "mlp"}, "d": "2"}
    state = {"w": torch.ones(2, 3), "b": torch.zeros(3)}
    paths = [save(state, tmp_path / f"{i}.safetensors", metadata) for i in range(3)]
    assert len({path.read_bytes() for path in paths}) == 1


def test_ties_survive_and_a_strict_loader_finds_every_name(tmp_path):
    model = Tied()
    path = save(model.state_dict(), tmp_path / "w.safetensors")
    checkpoint = load(path)
    assert checkpoint.metadata["ties"] == [["head.weight", "table.weight"]]
    assert checkpoint.state["head.weight"].data_ptr() == checkpoint.state["table.weight"].data_ptr()
    Tied().load_state_dict(load_file(path), strict=True)
    again = save(checkpoint.state, tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_a_tie_that_another_tool_has_broken_is_not_restored(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2), "b": torch.zeros(2)}, path, metadata={"lmc_ties": '[["a", "b"]]'})
    checkpoint = load(path)
    assert checkpoint.metadata["ties"] == []
    assert checkpoint.state["b"].sum() == 0


@pytest.mark.parametrize("text", ["{", "3", '["a"]', '[[["a"], 1, "a"]]', '[["a", "gone"]]'])
def test_a_record_of_ties_that_makes_no_sense_is_passed_over(tmp_path, text):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"lmc_ties": text})
    assert load(path).metadata["ties"] == []


def test_a_stale_record_of_ties_is_not_passed_on(tmp_path):
    first = load(save(Tied().state_dict(), tmp_path / "a.safetensors"))
    untied = {name: tensor.clone() for name, tensor in first.state.items()}
    assert load(save(untied, tmp_path / "b.safetensors", first.metadata["header"])).metadata["ties"] == []


def test_metadata_comes_back(tmp_path):
    given = {"lmc": {"model": "mlp?width=64", "seed": 3}, "note": "free text", "numbers": [1, 2]}
    metadata = load(save({"w": torch.ones(2)}, tmp_path / "w.safetensors", given)).metadata
    assert metadata["lmc"] == given["lmc"]
    assert metadata["header"]["note"] == "free text"
    assert json.loads(metadata["header"]["numbers"]) == [1, 2]
    assert metadata["header"]["format"] == "pt", "what other loaders ask for"
    assert metadata["format"] == metadata["framework"] == "safetensors"


def test_an_entry_of_ours_that_is_no_object_is_left_as_text(tmp_path):
    for text in ("[1]", "{", "plain"):
        metadata = load(save({"w": torch.ones(2)}, tmp_path / "w.safetensors", {"lmc": text})).metadata
        assert "lmc" not in metadata
        assert metadata["header"]["lmc"] == text


def test_views_are_written_by_value_and_nothing_is_modified(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    state = {"t": base.t(), "column": base[:, 1], "wide": torch.ones(1).expand(5)}
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = load(save(state, tmp_path / "w.safetensors")).state
    for name, tensor in before.items():
        assert torch.equal(found[name], tensor)
        assert torch.equal(state[name], tensor)
    assert state["t"].stride() == (1, 4)


def test_saving_over_a_loaded_file_leaves_its_tensors_alone(tmp_path):
    path = save({"w": torch.ones(1000)}, tmp_path / "w.safetensors")
    first = load(path)
    save({"w": torch.zeros(1000)}, path)
    assert first.state["w"].sum() == 1000, "the file is mapped; replacing must not change what is mapped"
    assert load(path).state["w"].sum() == 0


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    monkeypatch.setattr(writing, "_bytes", lambda tensor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save({"w": torch.zeros(2)}, path)
    assert load(path).state["w"].sum() == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_tensors_begin_aligned(tmp_path):
    for name in ("w", "ww", "www"):
        state = {"h": torch.ones(3, dtype=torch.float16), name: torch.ones(2), "d": torch.ones(1, dtype=torch.float64)}
        path = save(state, tmp_path / "w.safetensors")
        assert struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0
        for tensor in load(path).state.values():
            assert tensor.data_ptr() % tensor.element_size() == 0


def test_another_extension_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"name the file w\.safetensors, not w\.pt"):
        save({"w": torch.ones(2)}, tmp_path / "w.pt")


@pytest.mark.parametrize(
    "tensor", [torch.eye(2).to_sparse(), torch.ones(2, device="meta"), torch.ones(2, dtype=torch.complex128)]
)
def test_what_the_format_cannot_hold_is_named(tmp_path, tensor):
    with pytest.raises(CheckpointError, match="'odd'"):
        save({"w": torch.ones(2), "odd": tensor}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())
