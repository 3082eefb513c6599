"""Orbax folders: JAX's checkpoints, arrays in zarr or OCDBT beside a description in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmc._errors import CheckpointError
from lmc._optional import require
from lmc.checkpoints.flax_files import from_jax
from lmc.checkpoints.format import Contents, Format, Sample, check_size, printable, refuse

_ABOUT = "_METADATA"
_LONGEST = 64 * 2**20


def _folder(sample: Sample) -> Path | None:
    """Return the folder with the arrays: this one, or the one that Orbax calls ``default`` or ``params`` in it."""
    inner = (sample.path / name for name in ("default", "params", "state") if name in sample.names)
    return next((path for path in (sample.path, *inner) if (path / _ABOUT).is_file()), None)


def _recognises(sample: Sample) -> bool:
    return sample.folder and _folder(sample) is not None


def _read(sample: Sample) -> Contents:
    tensorstore = require("tensorstore", purpose="reading checkpoints of Orbax", extra="jax")
    folder = _folder(sample)
    assert folder is not None
    try:
        if (folder / _ABOUT).stat().st_size > _LONGEST:
            raise ValueError("its description is too long")
        about = json.loads((folder / _ABOUT).read_bytes())
        tree: dict[str, Any] = {}
        for entry in about["tree_metadata"].values():
            keys = [str(key["key"]) for key in entry["key_metadata"]]
            if entry["value_metadata"].get("value_type") in _ARRAYS:
                _place(tree, keys, _array(sample, tensorstore, folder, ".".join(keys), about))
    except CheckpointError:
        raise
    except Exception as error:  # the library's errors, and those of odd descriptions
        what = f"is a damaged or unusual Orbax folder ({type(error).__name__}: {printable(error, 160)})"
        raise refuse(sample.path, what, "Copy the whole folder again.") from error
    contents = from_jax(tree)
    files = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
    return Contents(contents.tree, metadata=contents.metadata, files=files)


_ARRAYS = ("jax.Array", "np.ndarray", "scalar")


def _array(sample: Sample, tensorstore: Any, folder: Path, name: str, about: dict[str, Any]) -> torch.Tensor:
    place = str(folder.resolve())
    if (folder / "manifest.ocdbt").is_file():
        store = {"driver": "ocdbt", "base": {"driver": "file", "path": place + "/"}, "path": name + "/"}
    else:
        store = {"driver": "file", "path": f"{place}/{sample.beside(name).name}/"}
    driver = "zarr3" if about.get("use_zarr3") else "zarr"
    opened = tensorstore.open({"driver": driver, "kvstore": store}, open=True, read=True).result()
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    check_size(sample.path, opened.size * opened.dtype.numpy_dtype.itemsize, stored, name)
    array = np.array(opened.read().result())
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _place(tree: dict[str, Any], keys: list[str], tensor: torch.Tensor) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = tensor


ORBAX = Format("Orbax", "orbax", (), _recognises, _read)
