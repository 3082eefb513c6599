"""The user's own files: arrays in an npz archive, or a factory in Python code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lmc._errors import DatasetError, LmcError
from lmc._imports import blame, import_object
from lmc._reference import Reference
from lmc.datasets.as_data import as_data
from lmc.datasets.data import AbstractData


def npz(path: str, split: str, data_dir: Path | None) -> AbstractData:
    """Open an npz archive with arrays ``x, y`` or ``x_train, y_train, x_test, y_test``; nothing in it is unpickled.

    Raises
    ------
    DatasetError
        If it is no such archive, or lacks the arrays.
    """
    file = Path(path).expanduser()
    if not file.is_file() and data_dir is not None:
        file = Path(data_dir) / path
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays.files)
            keys = [f"x_{split}", f"y_{split}"] if f"x_{split}" in names else ["x", "y"]
            if not set(keys) <= set(names):
                needed = f"x and y, or x_{split} and y_{split}"
                raise DatasetError(f"{file} holds {', '.join(names) or 'nothing'}; arrays {needed} are needed.")
            x, y = (arrays[key] for key in keys)
            # Every split must number classes alike.
            labels = [arrays[key] for key in names if key[:1] == "y" and arrays[key].dtype.kind in "iu"]
    except (OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DatasetError(f"{file} cannot be read as npz: {error}") from error
    except ValueError as error:
        if isinstance(error, LmcError):
            raise
        raise DatasetError(f"{file} cannot be read as npz without unpickling: {error}") from error
    whole = keys == ["x", "y"]
    notes = ("the file has no splits, all of it is used",) if whole else ()
    num_classes = max((int(values.max()) + 1 for values in labels if values.size), default=None)
    return as_data((x, y), name=file.name, split="all" if whole else split, num_classes=num_classes, notes=notes)


def from_code(reference: Reference, split: str, data_dir: Path | None) -> AbstractData:
    """Call the user's factory; ``split`` and ``data_dir`` are passed where it takes them.

    Raises
    ------
    DatasetError
        If it cannot be imported, fails, or returns nothing that holds examples.
    """
    factory: Any = import_object(reference.name, DatasetError)
    try:
        made = reference.call(factory, split=split, data_dir=data_dir) if callable(factory) else factory
    except LmcError:
        raise
    except Exception as error:
        raise DatasetError(f"{reference.name!r} fails. {blame(error)}") from error
    return as_data(made, name=reference.name.rpartition(":")[2], split=split)
