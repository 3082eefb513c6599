"""The public names: listed once, loaded when used, nothing else at the top."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lmc


@pytest.mark.parametrize("name", [name for name in lmc.__all__ if name != "__version__"])
def test_every_public_name_exists_and_is_documented(name):
    assert getattr(lmc, name).__doc__


def test_names_for_type_checkers_are_the_names_at_run_time():
    tree = ast.parse(Path(lmc.__file__).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    listed = {alias.name: f"{node.module}" for node in checked.body for alias in node.names}
    assert listed == lmc._HOME


def test_nothing_else_is_public():
    code = "import lmc; print([n for n in dir(lmc) if n not in lmc.__all__ and not n.startswith('__')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'barier'"):
        _ = lmc.barier


def test_no_name_is_hidden_by_a_room_of_its_name():
    """Importing ``lmc.barrier.x`` would put a module where the function was."""
    rooms = {module.name for module in pkgutil.iter_modules(lmc.__path__)}
    assert rooms and not rooms & set(lmc.__all__)
