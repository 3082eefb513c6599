"""The only things beside tensors that a torch file may make: none of them can run code, read or write anything.

torch itself allows tensors, storages, dtypes, OrderedDict, Counter, set, complex and bytearray. This list adds what
training scripts commonly save beside the weights:

- numpy scalars, dtypes and arrays of numbers, booleans and strings (never of objects);
- argparse.Namespace and types.SimpleNamespace, which only hold attributes;
- Lightning's AttributeDict, made as a plain dict;
- dates and durations;
- paths, made as pure paths, which cannot touch the file system.

It is used as a context around one call and never registered.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import types
from typing import Any

import numpy as np

_NUMPY_DTYPES = tuple({type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?SU"})

_scalar: Any = np.float64(0).__reduce__()[0]
_reconstruct: Any = np.zeros(1).__reduce__()[0]

_ATTRIBUTE_DICTS = (
    "pytorch_lightning.utilities.parsing",
    "lightning.pytorch.utilities.parsing",
    "lightning_fabric.utilities.data",
    "lightning.fabric.utilities.data",
)
"""Where Lightning has kept its class of hyperparameters, which is a dict with attributes."""

ALLOWED: list[Any] = [
    # numpy 1 and numpy 2 keep the same two functions under different names.
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    (_reconstruct, "numpy.core.multiarray._reconstruct"),
    (_reconstruct, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    *_NUMPY_DTYPES,
    *((dict, f"{package}.AttributeDict") for package in _ATTRIBUTE_DICTS),
    argparse.Namespace,
    types.SimpleNamespace,
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    (pathlib.PurePosixPath, "pathlib.PosixPath"),
    (pathlib.PureWindowsPath, "pathlib.WindowsPath"),
    (pathlib.PurePosixPath, "pathlib.PurePosixPath"),
    (pathlib.PureWindowsPath, "pathlib.PureWindowsPath"),
]
"""Classes and functions, or pairs of one and the name a file knows it by, as ``safe_globals`` takes them."""
