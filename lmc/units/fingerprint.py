"""A digest of values, tensors, paths, networks and functions: equal where the work that uses them is the same."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc.datasets import AbstractData

_EVERY_MODULE = frozenset(vars(nn.Module()))
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_PLAIN = (str, int, float, complex, bool, bytes, type(None))


def fingerprint(*values: Any) -> str:
    """Return a SHA-256 of what the values are, the same in every process.

    Parameters
    ----------
    *values
        Numbers, strings, arrays, tensors (dtype, shape and bytes), mappings, sequences, dataclasses (the fields that
        take part in comparison), datasets (their digest and normalisation), functions (their source file and what they
        have captured), and modules.

        Of a module count the structure, plain attributes, the source files of its classes, and buffers that are in no
        state dict. Its parameters and other buffers do not: they are replaced by those of a path.

    Returns
    -------
    str, 64 hexadecimal digits

    Raises
    ------
    UsageError
        For a value of any other type: a digest that misses something would pass old results for new ones.
    """
    running = hashlib.sha256()
    for value in values:
        _add(value, running.update, ())
    return running.hexdigest()


@functools.cache
def code_digest() -> str:
    """Return a SHA-256 of this package's own source files: parts of one result come from one state of the code."""
    root = Path(__file__).parents[1]
    running = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        running.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return running.hexdigest()


def _add(value: Any, put: Callable[[bytes], object], inside: tuple[int, ...]) -> None:
    put(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if isinstance(value, _PLAIN):
        put(repr(value).encode())
        return
    if id(value) in inside:  # a module that knows its parent, a function that captures itself
        put(f"again {len(inside) - inside.index(id(value))}".encode())
        return
    inside = (*inside, id(value))
    if isinstance(value, Tensor):
        _add_tensor(value, put)
    elif isinstance(value, AbstractData):
        _add([value.digest, value.task, value.num_classes, value.normalization], put, inside)
    elif isinstance(value, nn.Module):
        _add_module(value, put, inside)
    elif isinstance(value, type):
        _add([value.__qualname__, _source(value)], put, inside)
    elif dataclasses.is_dataclass(value):
        put(_source(type(value)).encode())
        fields = [field for field in dataclasses.fields(value) if field.compare]
        _add({field.name: getattr(value, field.name) for field in fields}, put, inside)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _add(key, put, inside)
            _add(value[key], put, inside)
    elif isinstance(value, Set):
        _add(sorted(value, key=repr), put, inside)
    elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcSU":
        put(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (torch.dtype, torch.device, torch.Size, range, slice)):
        put(str(value).encode())
    elif isinstance(value, os.PathLike):
        put(os.fsencode(value))
    elif isinstance(value, Sequence):
        for part in value:
            _add(part, put, inside)
        put(str(len(value)).encode())
    else:
        _add_callable(value, put, inside)


def _add_tensor(value: Tensor, put: Callable[[bytes], object]) -> None:
    dense = value.detach().to("cpu").resolve_conj().contiguous()
    put(f"{dense.dtype} {tuple(dense.shape)}".encode())
    put(dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b"")


def _add_callable(value: Any, put: Callable[[bytes], object], inside: tuple[int, ...]) -> None:
    if isinstance(value, functools.partial):
        _add([value.func, value.args, value.keywords], put, inside)
    elif isinstance(value, FunctionType):
        captured = [cell.cell_contents for cell in value.__closure__ or ()]
        _add([value.__qualname__, _source(value), value.__defaults__, value.__kwdefaults__, captured], put, inside)
    elif isinstance(value, MethodType):
        _add([value.__self__, value.__func__], put, inside)
    elif isinstance(value, BuiltinFunctionType):
        put(f"{value.__module__}.{value.__qualname__}".encode())
    elif callable(value):
        _add([type(value), getattr(value, "__dict__", {})], put, inside)
    else:
        raise UsageError(
            f"Work with a {type(value).__qualname__} ({value!r:.60}) cannot be resumed: nothing tells whether it is "
            "the same the next time. Make it a function, a dataclass or a module, or leave resuming out."
        )


def _add_module(module: nn.Module, put: Callable[[bytes], object], inside: tuple[int, ...]) -> None:
    kept = module.state_dict(keep_vars=True)
    _add({name: f"{tuple(x.shape)}" for name, x in kept.items() if isinstance(x, Tensor)}, put, inside)
    replaced = {id(x) for x in kept.values()}
    for name, part in module.named_modules():
        put(f"{name} {type(part).__module__}.{type(part).__qualname__} {_source(type(part))}".encode())
        put(part.extra_repr().encode())
        own = {key: one for key, one in vars(part).items() if key not in _EVERY_MODULE}
        _add({key: one if _is_plain(one) else _told(one) for key, one in own.items()}, put, inside)
        loose = dict(part.named_buffers(recurse=False))
        loose |= {key: one for key, one in own.items() if isinstance(one, Tensor)}
        _add({key: x for key, x in loose.items() if id(x) not in replaced}, put, inside)
        if isinstance(code := getattr(part, "code", None), str):  # traced and exported graphs
            put(code.encode())


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return isinstance(value, (*_PLAIN, torch.dtype, FunctionType, BuiltinFunctionType))


def _told(value: Any) -> str:
    """Return what an attribute says of itself (a configuration does); an address in memory says nothing."""
    text = repr(value) if not isinstance(value, (Tensor, nn.Module)) else ""
    return "" if " at 0x" in text else text


def _source(thing: Any) -> str:
    """Return the digest of the file that defines a class or function; for what is installed, its version."""
    module = str(getattr(thing, "__module__", ""))
    try:
        file = inspect.getsourcefile(thing)
    except TypeError:
        file = None
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", None)
    if file is None or not Path(file).is_file() or (version and _INSTALLED.intersection(Path(file).parts)):
        return f"{module} {version}"
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
