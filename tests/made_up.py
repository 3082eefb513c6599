"""Files that are no checkpoints, or damaged ones, of every kind there is; each is made by one function."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

STATE = {"fc1.weight": torch.arange(784.0 * 4).reshape(4, 784) / 1e3, "fc1.bias": torch.ones(4)}
STATE |= {"fc2.weight": torch.arange(40.0).reshape(10, 4), "fc2.bias": torch.ones(10)}
ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
GIB = 2**30


class Evil:
    """Pickles into a call that would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def header(data: bytes, length: int | None = None, body: bytes = b"") -> bytes:
    """Return the bytes of a safetensors file with this header."""
    return struct.pack("<Q", len(data) if length is None else length) + data + body


def entries(**named: object) -> bytes:
    """Return a safetensors file with these entries and four bytes of data."""
    return header(json.dumps(named).encode(), body=bytes(4))


def archive(**members: bytes) -> bytes:
    """Return a zip archive; ``__`` in a name stands for a slash, ``0`` keys become numbers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def saved(tree: object, **options: object) -> bytes:
    """Return what torch.save writes."""
    buffer = io.BytesIO()
    torch.save(tree, buffer, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def npy_claiming(shape: tuple[int, ...]) -> bytes:
    """Return an array file that claims a shape it has no data for."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def tar() -> bytes:
    """Return a tar archive with a path that leaves its folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("../../w.pt"), io.BytesIO(b""))
    return buffer.getvalue()


def with_nan(value: float) -> dict[str, torch.Tensor]:
    """Return the weights with one of them replaced."""
    return STATE | {"fc1.bias": torch.tensor([1.0, value, 0.0, 0.0])}


def zipped_twice() -> bytes:
    """Return a torch archive with one of its members twice."""
    buffer = io.BytesIO(saved(STATE))
    with zipfile.ZipFile(buffer, "a") as packed:
        info = next(i for i in packed.infolist() if i.filename.endswith("data/0"))
        packed.fp.write(b"")  # pyright: ignore[reportOptionalMemberAccess]
        packed.filelist.append(info)
        packed._didModify = True  # pyright: ignore[reportAttributeAccessIssue]
    return buffer.getvalue()


ZERO = {"fc1.weight": torch.ones(0, 784), "fc1.bias": torch.ones(0), "fc2.weight": torch.ones(10, 0)}
BOMB = bytes(GIB // 2)
DUPLICATE = (
    b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
)

CONTENTS: dict[str, Callable[[], bytes]] = {
    "empty.pt": lambda: b"",
    "one-byte.pt": lambda: b"\x80",
    "zeros.pt": lambda: bytes(5000),
    "noise.safetensors": lambda: bytes(range(256)) * 20,
    "text.pt": lambda: b"epoch 3, loss 0.1\n",
    "page.bin": lambda: b"<!DOCTYPE html><html>Sign in</html>",
    "gzip.pt": lambda: gzip.compress(saved(STATE)),
    "tar.pt": tar,
    "gguf.bin": lambda: b"GGUF" + bytes(100),
    "array.npy": lambda: npy_claiming((3,)) + bytes(12),
    "pickle.pkl": lambda: pickle.dumps(Evil()),
    "evil.pt": lambda: saved({"model": STATE, "x": Evil()}),
    "evil-legacy.pt": lambda: saved(Evil(), _use_new_zipfile_serialization=False),
    "evil-script.pt": lambda: archive(m__data=b"", **{"m__data.pkl": pickle.dumps(Evil()), "m__constants.pkl": b""}),
    "evil-policy.zip": lambda: archive(**{"policy.pth": saved(Evil())}),
    "traversal.zip": lambda: archive(**{"..__..__policy.pth": b"x", "..__escaped": b"x"}),
    "traversal.pt2": lambda: archive(
        **{
            "m__data__weights__model_weights_config.json": json.dumps(
                {"config": {"w": {"path_name": "../../../../../etc/passwd", "tensor_meta": {}}}}
            ).encode()
        }
    ),
    "bomb-policy.zip": lambda: archive(**{"policy.pth": BOMB}),
    "bomb-torch.pt": lambda: archive(**{"w__data.pkl": BOMB, "w__version": b"3"}),
    "bomb-script.pt": lambda: archive(**{"w__data.pkl": BOMB, "w__constants.pkl": b""}),
    "bomb.npz": lambda: archive(**{"w.npy": npy_claiming((GIB // 8,)) + BOMB}),
    "twice.pt": zipped_twice,
    "claims.npz": lambda: archive(**{"w.npy": npy_claiming((10**6, 10**6))}),
    "objects.npz": lambda: archive(**{"w.npy": pickle.dumps(Evil())}),
    "header-20-gb.safetensors": lambda: header(b"{}", length=20 * 10**9),
    "header-cut.safetensors": lambda: header(b'{"a":', length=5000),
    "header-no-json.safetensors": lambda: header(b"{not json}"),
    "header-deep.safetensors": lambda: header(b'{"a":' * 50_000),
    "duplicate-keys.safetensors": lambda: header(DUPLICATE, body=bytes(4)),
    "wrong-endian-length.safetensors": lambda: struct.pack(">Q", 2) + b"{}" + bytes(8),
    "wrong-endian-magic.npz": lambda: archive(**{"w.npy": b"YPMUN\x93\x01\x00" + bytes(100)}),
    "beyond.safetensors": lambda: entries(a={**ENTRY, "data_offsets": [0, 10**12]}),
    "negative.safetensors": lambda: entries(a={**ENTRY, "data_offsets": [-4, 0]}),
    "negative-shape.safetensors": lambda: entries(a={**ENTRY, "shape": [-1]}),
    "huge-shape.safetensors": lambda: entries(a={**ENTRY, "shape": [2**62, 2**62]}),
    "shape.safetensors": lambda: entries(a={**ENTRY, "shape": [7]}),
    "overlap.safetensors": lambda: entries(a=ENTRY, b=ENTRY),
    "dtype.safetensors": lambda: entries(a={**ENTRY, "dtype": "F33"}),
    "no-tensors.safetensors": lambda: header(b"{}"),
    "whole-numbers.pt": lambda: saved({"x": torch.zeros(3, dtype=torch.uint8)}),
    "list.pt": lambda: saved([STATE]),
    "none.pt": lambda: saved(None),
    "optimizer.pt": lambda: saved(torch.optim.Adam([torch.ones(2, requires_grad=True)]).state_dict()),
    "sparse.pt": lambda: saved({"w": torch.eye(3).to_sparse()}),
    "meta.pt": lambda: saved({"w": torch.ones(3, device="meta")}),
    "nan.pt": lambda: saved(with_nan(float("nan"))),
    "inf.safetensors": lambda: safetensors.torch.save(with_nan(float("inf"))),
    "zero-size.pt": lambda: saved(ZERO),
    "hdf5.h5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(1000),
    "keras.keras": lambda: archive(**{"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)}),
    "msgpack.msgpack": lambda: b"\xdf\xff\xff\xff\xff" + bytes(100),
    "msgpack-deep.msgpack": lambda: b"\x81\xa1a" * 40_000,
    "onnx.onnx": lambda: b"\x08\x09\x12\xff\xff\xff\xff\x7f" + bytes(100),
    "index.index.json": lambda: b'{"weight_map": {"w": "../../../etc/passwd"}}',
    "index-lost.index.json": lambda: b'{"weight_map": {"w": "gone.safetensors"}}',
    "index-deep.index.json": lambda: b'{"weight_map":' * 50_000,
}
"""Name of the file and what is in it."""

WHOLE: dict[str, Callable[[], bytes]] = {
    "whole-zip.pt": lambda: saved(STATE),
    "whole-legacy.pt": lambda: saved(STATE, _use_new_zipfile_serialization=False),
    "whole.safetensors": lambda: safetensors.torch.save(STATE),
    "whole.npz": lambda: _npz(),
    "whole-wrapped.pt": lambda: saved({"net": STATE, "epoch": 3, "args": {"lr": 0.1}}),
    "whole-script.pt": lambda: _script(),
    "whole.pt2": lambda: _export(),
    "whole.onnx": lambda: _onnx(),
    "whole.msgpack": lambda: _flax(),
    "whole.h5": lambda: _hdf5(),
}
"""Good files, to be cut and altered."""


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: tensor.numpy() for name, tensor in STATE.items()})
    return buffer.getvalue()


def _network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def _script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(_network()), buffer)
    return buffer.getvalue()


def _export() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(_network(), (torch.ones(2, 6),)), buffer)
    return buffer.getvalue()


def _onnx() -> bytes:
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(tensor.numpy(), name) for name, tensor in STATE.items()]
    return helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString()


def _flax() -> bytes:
    from flax import serialization

    return serialization.to_bytes({"params": {"Dense_0": {"kernel": np.ones((6, 4), np.float32)}}})


def _hdf5() -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("layers/dense/vars")
        group["0"], group["1"] = np.ones((6, 4), np.float32), np.ones(4, np.float32)
    return buffer.getvalue()


def make_all(folder: Path) -> Iterator[Path]:
    """Write every bad file into a folder, and folders and special files beside them; yield the paths."""
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content())
        yield folder / name
    for name, content in WHOLE.items():
        data = content()
        for tenths in range(1, 10):
            path = folder / f"cut-{tenths}-{name}"
            path.write_bytes(data[: len(data) * tenths // 10])
            yield path
    yield from _special(folder)


def _special(folder: Path) -> Iterator[Path]:
    (folder / "nothing-in-it").mkdir()
    yield folder / "nothing-in-it"
    (folder / "distributed").mkdir()
    (folder / "distributed" / ".metadata").write_bytes(pickle.dumps(Evil()))
    (folder / "distributed" / "__0_0.distcp").write_bytes(bytes(100))
    yield folder / "distributed"
    (folder / "loop.pt").symlink_to(folder / "loop.pt")
    yield folder / "loop.pt"
    os.mkfifo(folder / "pipe.pt")
    yield folder / "pipe.pt"
    yield Path("/dev/zero")
    yield folder / "missing.pt"
    private = folder / "private.pt"
    private.write_bytes(saved(STATE))
    private.chmod(0)
    yield private
