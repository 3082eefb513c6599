"""What is refused: each with the file, what it is and what to do, in at most six lines; and nothing is ever run."""

from __future__ import annotations

import collections
import gzip
import json
import os
import pickle
import random
import re
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lmc._errors import CheckpointError
from lmc.checkpoints import load, save

STATE = {"fc.weight": torch.arange(12.0).reshape(3, 4), "fc.bias": torch.ones(3)}
OLD = {"_use_new_zipfile_serialization": False}


def refusal(path: Path | str) -> str:
    """Load what must be refused; return the message after checking its form."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert 2 <= len(message.splitlines()) <= 6, message
    assert all(len(line) < 1100 for line in message.splitlines())
    assert message.startswith(str(path)[:50].replace("\0", " "))
    return message


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "what", "advice"),
    [
        ("whole-module.pt", r"object of class model\.RNN", "state_dict"),
        ("html-page.pt", "HTML page", "Download it again"),
        ("lfs-pointer.pt", "git-lfs pointer", "git lfs pull"),
        ("optimizer-state.pth", "optimizer's state", "model.state_dict()"),
        ("truncated.pkl", "Python pickle .*numpy", "state_dict"),
        ("old-torchscript.pt", "TorchScript archive from before", "torch.jit.load"),
        ("dataset.safetensors", r"dataset.*Xtrain: uint8 \[6000, 196\]", "--data"),
    ],
)
def test_bad_files_of_other_people(shared_data, name, what, advice):
    message = refusal(shared_data / "checkpoints" / "bad" / name)
    first, _, rest = message.partition("\n")
    assert re.search(what, first), message
    assert advice in rest


class Payload:
    """Pickles into a call that makes a file."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("options", [{}, OLD], ids=["zip", "legacy"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside weights"])
@pytest.mark.parametrize("function", [os.mkdir, Path.touch, np.save, eval], ids=lambda f: f.__name__)
def test_no_code_of_a_file_is_run(tmp_path, function, beside, options):
    made = tmp_path / "made"
    code = f"__import__('os').mkdir({str(made)!r})"
    arguments = {os.mkdir: [str(made)], Path.touch: [made], np.save: [str(made), 1], eval: [code]}
    payload = Payload(function, *arguments[function])
    path = tmp_path / "evil.pt"
    torch.save({"model": STATE, "extra": payload} if beside else payload, path, **options)
    assert "object of class" in refusal(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.pt"]
    torch.load(path, weights_only=False)  # the control: unpickling it does run the call
    assert len(list(tmp_path.iterdir())) == 2


def test_a_plain_pickle_is_named_and_not_opened(tmp_path):
    path = tmp_path / "evil.pkl"
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(Payload(os.mkdir, str(tmp_path / "made")), protocol=protocol))
        assert "mkdir" in refusal(path)
    assert not (tmp_path / "made").exists()
    path.write_bytes(path.read_bytes()[:-3])
    assert "cut short" in refusal(path)


def test_arrays_of_objects_are_not_made(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"net": STATE, "extra": np.array([{"a": 1}, None], dtype=object)}, path)
    assert "object of class numpy" in refusal(path) or "damaged" in refusal(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_anywhere_is_refused(tmp_path, kind):
    whole = tmp_path / "whole.safetensors"
    if kind == "safetensors":
        save(STATE, whole)
    else:
        torch.save(STATE, whole, **(OLD if kind == "legacy" else {}))
    data = whole.read_bytes()
    load(whole)
    for tenths in range(10):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(data[: len(data) * tenths // 10])
        refusal(cut)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_altered_bytes_never_end_in_another_error(tmp_path, kind):
    whole, altered = tmp_path / "whole.safetensors", tmp_path / f"altered.{kind}"
    if kind == "safetensors":
        save(STATE, whole, {"lmc": {"model": "mlp"}})
    else:
        torch.save({"net": STATE, "epoch": 3}, whole, **(OLD if kind == "legacy" else {}))
    data = whole.read_bytes()
    draw = random.Random(0)
    outcomes = collections.Counter()
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(draw.choice([1, 1, 2, 5, 20])):
            changed[draw.randrange(len(data))] = draw.randrange(256)
        altered.write_bytes(changed)
        try:
            outcomes[len(load(altered).state)] += 1
        except CheckpointError as error:
            assert len(str(error).splitlines()) <= 6
            outcomes["refused"] += 1
    assert outcomes["refused"] > 20, "otherwise nothing was altered that matters"


def write_safetensors(path: Path, header: bytes, length: int | None = None, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def test_a_huge_header_is_refused_from_its_length_alone(tmp_path):
    path = write_safetensors(tmp_path / "w.safetensors", b"{}", length=20 * 10**9)
    assert "20,000,000,000 bytes in a file of 10" in refusal(path)
    with path.open("r+b") as stream:  # a sparse file that is as large as it claims
        stream.truncate(21 * 10**9)
    assert "20,000,000,000" in refusal(path)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (b"{not json}", "damaged header"),
        (b'{"a": 1}', "damaged header"),
        (b'{"__metadata__": [1]}', "damaged header"),
        (b'{"__metadata__": {"a": 1}}', "damaged header"),
        (b'{"a": {}, "a": {}}', "a name stands twice"),
        (b'{"a":' * 50_000, "damaged header"),
        (json.dumps({"a": ENTRY | {"data_offsets": [0, 400]}}).encode(), "damaged safetensors"),
        (json.dumps({"a": ENTRY | {"shape": [7]}}).encode(), "damaged safetensors"),
        (json.dumps({"a": ENTRY | {"dtype": "F33"}}).encode(), "damaged safetensors"),
        (json.dumps({"a": ENTRY, "b": ENTRY}).encode(), "damaged safetensors"),
        (b"{}", "no state dict"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, header, what):
    assert what in refusal(
        write_safetensors(tmp_path / "w.safetensors", header, data=bytes(4) if b"F3" in header else b"")
    )


@pytest.mark.parametrize("compressed", [True, False], ids=["compressed", "overlapping"])
def test_archives_that_claim_more_than_they_hold_are_refused_unread(tmp_path, monkeypatch, compressed):
    source, path = tmp_path / "source.pt", tmp_path / "bomb.pt"
    torch.save({"w": torch.zeros(100_000)}, source)
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", kind) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info), compress_type=kind)
        if not compressed:  # list one member twice, as bombs of overlapping members do
            new.filelist.append(max(new.filelist, key=lambda info: info.file_size))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the archive was read"))
    assert "compressed or overlapping members" in refusal(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"epoch 3, loss 0.1\n", "text file"),
        ("gewichte für später".encode() * 400, "text file"),
        (b"\n<HTML><body>Sign in", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x93NUMPY\x01\x00", "NumPy array"),
        (gzip.compress(b"x", mtime=0), "gzip"),
        (b"GGUF" + bytes(100), "GGUF"),
        (bytes(257) + b"ustar" + bytes(250), "tar archive"),
        (b"PK\x03\x04" + bytes(100), "damaged zip"),
        (b"\x80", "Python pickle, cut short"),
        (bytes(range(128, 256)), "damaged torch file"),
        (bytes(8), "damaged torch file"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, what):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert what in refusal(path)


def test_an_unknown_file_lists_what_is_read(tmp_path):
    path = tmp_path / "weights.xyz"
    path.write_bytes(bytes(range(128, 256)))
    assert "safetensors, torch zip, torch legacy" in refusal(path)


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("a/constants.pkl", "zip archive without a checkpoint"),
        ("a/archive_format", "torch.export"),
        ("policy.pth", "damaged torch file"),
        ("model.weights.h5", "Keras"),
        ("x.npy", "no array of numbers"),
        ("holiday.jpg", r"zip archive without a checkpoint (holiday.jpg)"),
    ],
)
def test_archives_of_other_kinds_are_named(tmp_path, member, what):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"x")
    assert what in refusal(path)


@pytest.mark.parametrize(
    ("tree", "what"),
    [
        ({}, "an empty dict"),
        ([STATE], "holds a list"),
        (torch.ones(3), "holds a Tensor"),
        (3, "holds a int"),
        ({"losses": [1.0], "config": {"lr": 0.1}}, "losses: list, config: dict"),
        ({"best": torch.tensor(0.5)}, "best: float32 []"),
        ({"x": torch.zeros(3, dtype=torch.uint8)}, "dataset"),
        ({0: torch.ones(3)}, "no state dict"),
        ({"w": torch.ones(3), "s": torch.eye(3).to_sparse()}, "sparse tensor (s:"),
        ({"w": torch.ones(3, device="meta")}, "shapes without values"),
        ({"bad\n\x1b[31mkey" + "x" * 500: 1}, "bad [31mkey"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_trees_without_usable_weights_are_described(tmp_path, tree, what):
    path = tmp_path / "w.pt"
    torch.save(tree, path)
    message = refusal(path)
    assert what in message
    assert "\x1b" not in message


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_weights_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)
    assert "quantised weights (w: torch.qint8)" in refusal(path)
    assert "dequantize()" in refusal(path)


def test_a_dict_that_holds_itself_ends(tmp_path):
    tree: dict = {str(i): None for i in range(50)}
    tree.update(dict.fromkeys(tree, tree))
    torch.save(tree, tmp_path / "w.pt")
    assert "no state dict" in refusal(tmp_path / "w.pt")


def test_paths_that_lead_to_no_file(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    assert "Did you mean 'weights.pt'?" in refusal(tmp_path / "weihgts.pt")
    assert "It holds: weights.pt" in refusal(tmp_path)
    assert "no folder" in refusal(tmp_path / "missing" / "w.pt")
    assert "cannot be opened" in refusal("nul\0byte.pt")
    assert "cannot be opened" in refusal(f"{'long' * 100}.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    assert "a device or a pipe" in refusal(tmp_path / "pipe.pt")
    assert "a device or a pipe" in refusal("/dev/zero")


def test_a_deepspeed_folder_is_named_with_its_own_script(tmp_path):
    (tmp_path / "global_step100").mkdir()
    (tmp_path / "latest").write_text("global_step100")
    assert "DeepSpeed ZeRO" in refusal(tmp_path)
    assert "zero_to_fp32.py" in refusal(tmp_path)


def test_a_file_that_may_not_be_read():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folder is closed to other users
        path = Path(folder) / "w.safetensors"
        save(STATE, path)
        Path(folder).chmod(0o755)
        path.chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            assert "may not be read by this user" in refusal(path)
        finally:
            if root:
                os.seteuid(0)


def test_weights_that_are_not_finite_load(tmp_path):
    save({"w": torch.tensor([float("nan"), float("inf")])}, tmp_path / "w.safetensors")
    assert load(tmp_path / "w.safetensors").state["w"].isnan().any()


def test_an_ordered_dict_needs_no_permission(tmp_path):
    torch.save(collections.OrderedDict(STATE), tmp_path / "w.pt")
    assert list(load(tmp_path / "w.pt").state) == list(STATE)
