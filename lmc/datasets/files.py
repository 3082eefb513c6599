"""The user's own files: arrays in an npz archive, or a factory in Python code."""

from __future__ import annotations

import inspect
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lmc._errors import DatasetError, LmcError, did_you_mean
from lmc._imports import blame, import_object
from lmc._reference import Reference
from lmc.datasets.as_data import as_data
from lmc.datasets.data import AbstractData, Task

_NO_SPLITS = (
    "the file has no splits, all of it is used: training examples (lmc train, --recalibrate) and test examples are the "
    "same ones"
)


def npz(path: str, split: str, data_dir: Path | None, *, task: Task | None = None) -> AbstractData:
    """Open an npz archive with arrays ``x, y`` or ``x_train, y_train, x_test, y_test``; nothing in it is unpickled.

    Parameters
    ----------
    path : str
        Looked for as it stands, then under ``data_dir``.
    split : {"train", "test"}
        Which arrays; ``x, y`` serve as either.
    data_dir : path-like, optional
        A folder of datasets.
    task : {"classification", "tokens", "regression"}, optional
        Told from the targets where it is not given.

    Raises
    ------
    DatasetError
        If it does not exist, is no such archive, or lacks the arrays.
    """
    file = _existing(path, data_dir)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays.files)
            keys = [f"x_{split}", f"y_{split}"] if f"x_{split}" in names else ["x", "y"]
            if not set(keys) <= set(names):
                needed = f"x and y, or x_{split} and y_{split}"
                raise DatasetError(f"{file} holds {', '.join(names) or 'nothing'}; arrays {needed} are needed.")
            x, y = (arrays[key] for key in keys)
            # Every split must number classes alike.
            kinds = "iu" if task is None else "iuf"
            labels = [arrays[key] for key in names if key[:1] == "y" and arrays[key].dtype.kind in kinds]
    except (OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DatasetError(f"{file} cannot be read as npz: {error}") from error
    except ValueError as error:
        if isinstance(error, LmcError):
            raise
        raise DatasetError(f"{file} cannot be read as npz without unpickling: {error}") from error
    whole = keys == ["x", "y"]
    notes = (_NO_SPLITS,) if whole else ()
    finite = [values for values in labels if values.size and np.isfinite(values).all()]
    num_classes = max((int(values.max()) + 1 for values in finite), default=None)
    split = "all" if whole else split
    return as_data((x, y), name=file.name, split=split, num_classes=num_classes, task=task, notes=notes)


def _existing(path: str, data_dir: Path | None) -> Path:
    places = [Path(path).expanduser(), *([] if data_dir is None else [Path(data_dir) / path])]
    for file in places:
        if file.is_file():
            return file
    near = did_you_mean(places[0].name, (other.name for other in places[0].parent.glob("*.npz")))
    raise DatasetError(f"{' and '.join(map(str, places))} {'do' if len(places) > 1 else 'does'} not exist.{near}")


def from_code(reference: Reference, split: str, data_dir: Path | None) -> AbstractData:
    """Call the user's factory; ``split`` and ``data_dir`` are passed where it takes them.

    The option ``task`` says what its targets are for, unless the factory has an option of that name itself.

    Raises
    ------
    DatasetError
        If it cannot be imported, fails, or returns nothing that holds examples.
    """
    factory: Any = import_object(reference.name, DatasetError)
    task = None
    try:
        task, reference = _own_task(factory, reference)
        made = reference.call(factory, split=split, data_dir=data_dir) if callable(factory) else factory
    except LmcError:
        raise
    except Exception as error:
        raise DatasetError(f"{reference.name!r} fails. {blame(error)}") from error
    return as_data(made, name=reference.name.rpartition(":")[2], split=split, task=task)


def _own_task(factory: Any, reference: Reference) -> tuple[Task | None, Reference]:
    """Take the option ``task`` out of the reference, unless it is the factory's own."""
    if callable(factory) and "task" in inspect.signature(factory).parameters:
        return None, reference
    options = dict(reference.options)
    task = options.pop("task", None)
    return task, Reference(reference.name, options)
