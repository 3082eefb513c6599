"""NumPy archives (.npz), one array a name: torch's layout under torch's names, JAX's under ``kernel`` and ``scale``."""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np
import torch
from torch import Tensor

from lmc._errors import CheckpointError
from lmc.checkpoints.flax_files import from_jax
from lmc.checkpoints.format import Contents, Format, Sample, check_size, printable, refuse


def _recognises(sample: Sample) -> bool:
    return bool(sample.members) and all(info.filename.endswith(".npy") for info in sample.members)


def _read(sample: Sample) -> Contents:
    state = {info.filename.removesuffix(".npy").replace("/", "."): _array(sample, info) for info in sample.members}
    if len(state) < len(sample.members):
        raise refuse(sample.path, "is a NumPy archive with a name that stands twice", "Save it again, each name once.")
    if any(name.rpartition(".")[2] == "kernel" for name in state):
        return from_jax({name.removeprefix("params.").removeprefix("batch_stats."): t for name, t in state.items()})
    return Contents(state)


def _array(sample: Sample, info: zipfile.ZipInfo) -> Tensor:
    data = sample.read_member(info)
    try:
        stream = io.BytesIO(data)
        header = np.lib.format.read_array_header_1_0 if data[6] == 1 else np.lib.format.read_array_header_2_0
        np.lib.format.read_magic(stream)
        shape, _, dtype = header(stream)
        check_size(sample.path, math.prod(shape) * dtype.itemsize, len(data), info.filename)
        array = np.load(io.BytesIO(data), allow_pickle=False)
        return torch.from_numpy(np.asarray(array, array.dtype.newbyteorder("="), order="C"))
    except CheckpointError:
        raise
    except Exception as error:  # numpy's own errors, and torch's for strings and dates
        what = f"holds {printable(info.filename)}, which is no array of numbers ({printable(error)})"
        raise refuse(sample.path, what, "Save arrays of numbers only: numpy.savez(FILE, **weights)") from error


NPZ = Format("npz", "numpy", (".npz",), _recognises, _read)
