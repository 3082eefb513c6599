"""Attributes that netCDF can store: everything else is text before it gets there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lmc._errors import SchemaError


def check_attrs(attrs: Mapping[Any, Any]) -> None:
    """Raise SchemaError for an attribute that netCDF cannot store."""
    for name, value in attrs.items():
        if not _storable(value):
            raise SchemaError(f"Attribute {name!r} is {value!r} ({type(value).__name__}), which netCDF cannot store.")


def sanitize_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Turn attributes into what netCDF stores: strings and numbers stay, everything else becomes JSON text.

    Parameters
    ----------
    attrs : mapping
        Any values; None, bool, dict and sequences become JSON, paths become strings.

    Returns
    -------
    dict
        The same names, values that netCDF can hold.
    """
    return {str(name): _clean(value) for name, value in attrs.items()}


_STORED = frozenset({"i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"})


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return value == _utf8(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number, np.ndarray)):
        return False
    array = np.asarray(value)
    return array.ndim <= 1 and array.dtype.str[1:] in _STORED


def _clean(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return _utf8(value)
    return value if _storable(value) else json.dumps(_plain(value), default=str)


def _utf8(text: str) -> str:
    # File names that are no UTF-8 reach Python as lone surrogates, which no file format takes.
    return text.encode(errors="backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
