"""The user's own code, by import path: ``package.module:name`` or ``file.py:name``."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lmc._errors import InputError, did_you_mean

_SHOWN = 8


def import_object(text: str, refusal: type[InputError]) -> Any:
    """Import what an import path names; the user asked for this code to run.

    Parameters
    ----------
    text : str
        ``package.module:name`` (the working folder is searched too) or ``path/to/file.py:name``.
    refusal : type of InputError
        What is raised.

    Raises
    ------
    InputError
        Of the type given: there is no such file, module or name, or its code fails while it is imported.
    """
    where, _, name = text.rpartition(":")
    if where.endswith(".py") and not name:
        raise refusal(which_name(where))
    if not where or not name:
        raise refusal(f"{text!r} is no import path: write package.module:name or file.py:name.")
    module = (
        _from_file(Path(where).expanduser(), text, refusal)
        if where.endswith(".py")
        else _from_package(where, text, refusal)
    )
    try:
        return getattr(module, name)
    except AttributeError:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise refusal(f"{text!r}: {where} has no name {name!r}.{did_you_mean(name, public)}") from None


def which_name(path: str) -> str:
    """Say which import paths a Python file offers, told from its text: nothing in it is executed.

    Parameters
    ----------
    path : str
        ``nets.py``, without the name that belongs behind it.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        return f"{path!r}: there is no file {file.resolve()}. Write file.py:NAME, with a name that the file defines."
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        return f"{path!r} is not readable as Python ({error})."
    kinds = (ast.ClassDef, ast.FunctionDef)
    names = [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    offered = f"It has {', '.join(names[:_SHOWN])}{more}." if names else "It defines no class and no function."
    return f"{path!r} is a file: write {path}:NAME. {offered}"


def blame(error: BaseException) -> str:
    """Say what an error says, and where it came from: the last line of the user's own code, if it ever got there."""
    frames = traceback.extract_tb(error.__traceback__)
    machinery = {Path(__file__).parent, Path(importlib.__file__).parent}
    frames = [f for f in frames if f.filename[:1] != "<" and machinery.isdisjoint(Path(f.filename).parents)]
    own = [f for f in frames if "site-packages" not in f.filename]
    place = "".join(f"{f.filename}, line {f.lineno}: " for f in (own or frames)[-1:])
    message = (str(error) or repr(error)).strip().splitlines()[0]
    return f"{place}{type(error).__name__}: {message}"


def _from_file(path: Path, text: str, refusal: type[InputError]) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise refusal(f"{text!r}: there is no file {path}.")
    # A name of its own for each file, so that two files called nets.py do not meet.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        with _searching(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise refusal(f"{text!r} cannot be imported. {blame(error)}") from error
    return module


def _from_package(where: str, text: str, refusal: type[InputError]) -> ModuleType:
    try:
        with _searching(Path.cwd()):
            return importlib.import_module(where)
    except Exception as error:
        raise refusal(f"{text!r} cannot be imported. {blame(error)}") from error


@contextlib.contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Let imports find what lies in a folder, for the time of the block."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
