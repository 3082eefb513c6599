"""Who may import whom: read from the source of every file, and again from what a process has imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LMC = Path(__file__).parents[1] / "lmc"

# Room to the rooms that it may see, and through them all that those see. "_" is every private module at the top,
# "lmc" the public names, which only the command line may use: for a room they would be a way round this table.
RIGHT_OF = {
    "lmc": (),
    "_": (),
    "schema": ("_",),
    "plotting": ("schema",),
    "report": ("plotting",),
    "checkpoints": ("_",),
    "architectures": ("checkpoints",),
    "datasets": ("_",),
    "evaluation": ("datasets",),
    "training": ("evaluation",),
    "symmetry": ("_",),
    "testing": ("symmetry",),
    "interpolation": ("symmetry", "training"),
    "alignment": ("interpolation",),
    "fusion": ("alignment",),
    "units": ("schema", "datasets"),
    "barriers": ("interpolation", "evaluation", "schema", "units"),
    "pipeline": ("plotting", "architectures", "fusion", "barriers"),
    "sweep": ("pipeline",),
    "conjectures": ("sweep",),
    "cli": ("conjectures", "report", "testing", "lmc"),
    "__main__": ("cli",),
}

NEVER = ("torchvision", "timm", "transformers")
ONLY_IN = {
    "ot": ("alignment", "fusion"),
    "matplotlib.pyplot": ("plotting",),
    "seaborn": ("plotting",),
}
ONLY_INSIDE_FUNCTIONS = ("ot",)
LIGHT = {
    "_": ("torch", "xarray", "matplotlib"),
    "schema": ("torch", "matplotlib"),
    "plotting": ("torch",),
    "report": ("torch",),
}


def visible(room: str) -> set[str]:
    """Return the rooms that a room may import, itself included."""
    return {room}.union(*(visible(left) for left in RIGHT_OF[room]))


def room_of(file: Path) -> str:
    """Return the room that a file below ``lmc`` belongs to."""
    name = file.relative_to(LMC).parts[0].removesuffix(".py")
    return name if name in RIGHT_OF or not name.startswith("_") else "_"


def room_named(name: str) -> str:
    """Return the room of a dotted name below ``lmc``."""
    top = name.removeprefix("lmc").lstrip(".").split(".")[0]
    if top.startswith("_"):
        return "_"
    return top if top in RIGHT_OF else "lmc"


def imports(tree: ast.AST, package: str, *, deferred: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield each imported dotted name with its line and whether it is imported inside a function only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            yield from ((f"{module}.{alias.name}", node.lineno, deferred) for alias in node.names)
        else:
            inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(node, package, deferred=deferred or inside)


def without_typing(tree: ast.Module) -> ast.Module:
    """Drop what stands under ``if TYPE_CHECKING``: it is never imported."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            self.generic_visit(node)
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                node.body = [ast.Pass()]
            return node

    return Drop().visit(tree)


def begins(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def offences(source: str, file: Path) -> list[str]:
    """Return what a file imports against the tables, one sentence each."""
    room, package, tree = room_of(file), ".".join(file.relative_to(LMC.parent).parts[:-1]), ast.parse(source)
    upward = [
        (line, f"{room} may not import {name}")
        for name, line, _ in imports(tree, package)
        if begins(name, "lmc") and name != "lmc.__version__" and room_named(name) not in visible(room)
    ]
    foreign = [
        (line, reason)
        for name, line, deferred in imports(without_typing(tree), package)
        for reason in reasons_against(name, room, deferred)
    ]
    return [f"{file}:{line}: {reason}" for line, reason in upward + foreign]


def reasons_against(name: str, room: str, deferred: bool) -> Iterator[str]:
    """Yield why a room may not import a package of other people."""
    if any(begins(name, package) for package in NEVER):
        yield f"{name} is never imported by the core"
    if any(begins(name, package) for package in LIGHT.get(room, ())) and not (room == "_" and deferred):
        yield f"{room} may not import {name}"
    for package, rooms in ONLY_IN.items():
        if begins(name, package) and room not in rooms:
            yield f"{package} is imported in {' and '.join(rooms)} only, not in {room}"
    if any(begins(name, package) for package in ONLY_INSIDE_FUNCTIONS) and not deferred:
        yield f"{name} is imported inside functions only"


FILES = sorted(file for file in LMC.rglob("*.py") if file != LMC / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(LMC)))
def test_every_file_keeps_to_the_table(file: Path):
    assert room_of(file) in RIGHT_OF, f"{file} is in no room of the table"
    assert not offences(file.read_text(encoding="utf-8"), file)


def test_the_files_are_found():
    assert {"_", "schema", "plotting"} <= {room_of(file) for file in FILES}


@pytest.mark.parametrize(
    ("place", "source", "word"),
    [
        ("plotting/basin.py", "import torch", "plotting may not import torch"),
        ("plotting/basin.py", "def draw():\n    from torch import nn", "plotting may not import torch.nn"),
        ("plotting/basin.py", "from lmc.evaluation import losses", "plotting may not import lmc.evaluation"),
        ("plotting/basin.py", "from ..evaluation import losses", "plotting may not import lmc.evaluation"),
        ("plotting/basin.py", "from lmc import barriers", "plotting may not import lmc.barriers"),
        ("plotting/basin.py", "import lmc", "plotting may not import lmc"),
        ("barriers/grid.py", "def f():\n    import lmc.alignment.identity", "barriers may not import lmc.alignment"),
        ("symmetry/rules/conv.py", "from ...interpolation import LinearPath", "symmetry may not import lmc.interp"),
        ("symmetry/graph.py", "if TYPE_CHECKING:\n    from lmc.alignment import Identity", "may not import lmc.align"),
        ("_types.py", "from lmc.schema import BOUNDS", "_ may not import lmc.schema"),
        ("_types.py", "import torch", "_ may not import torch"),
        ("schema/checks.py", "from lmc.checkpoints import load", "schema may not import lmc.checkpoints"),
        ("evaluation/engine.py", "from lmc.training import train", "evaluation may not import lmc.training"),
        ("evaluation/engine.py", "def f():\n    import ot", "ot is imported in alignment and fusion only"),
        ("alignment/transport.py", "import ot", "inside functions only"),
        ("alignment/transport.py", "class A:\n    import ot.gromov", "inside functions only"),
        ("alignment/transport.py", "import matplotlib.pyplot as plt", "matplotlib.pyplot is imported in plotting only"),
        (
            "cli/plot.py",
            "def f():\n    from matplotlib import pyplot",
            "matplotlib.pyplot is imported in plotting only",
        ),
        ("architectures/zoo.py", "def f():\n    import torchvision.models", "never imported by the core"),
        ("architectures/zoo.py", "try:\n    from timm import create_model\nexcept ImportError: ...", "never imported"),
    ],
)
def test_the_reader_finds_an_offence(place: str, source: str, word: str):
    assert any(word in offence for offence in offences(source, LMC / place))


@pytest.mark.parametrize(
    ("place", "source"),
    [
        (
            "plotting/basin.py",
            "from lmc import schema\nfrom lmc._errors import UsageError\nfrom ._style import house_style",
        ),
        ("_types.py", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("alignment/transport.py", "def f():\n    import ot\n    from lmc.evaluation import losses"),
        ("cli/barrier.py", "def f():\n    from lmc.pipeline import run\n    from lmc import barrier, load"),
        ("alignment/otter.py", "import other, otter"),
        ("checkpoints/__init__.py", "from lmc import __version__\nfrom .torch_zip import load"),
    ],
)
def test_the_reader_lets_pass_what_is_allowed(place: str, source: str):
    assert not offences(source, LMC / place)


def test_a_file_outside_every_room_is_noticed():
    assert room_of(LMC / "helpers.py") not in RIGHT_OF
    assert room_of(LMC / "_new.py") == "_"


PROBE = """
import runpy, sys
try:
    exec(sys.argv.pop(1))
finally:
    print(*sorted({"torch", "ot", "matplotlib", "matplotlib.pyplot", "xarray"} & set(sys.modules)))
"""


def run_fresh(code: str, cwd: Path = LMC.parent) -> tuple[str, set[str]]:
    """Run code in a fresh process; return what it printed and which heavy packages it has imported."""
    command = [sys.executable, "-c", PROBE, code, "--help"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *printed, imported = done.stdout.splitlines()
    return "\n".join(printed), set(imported.split())


def test_plotting_leaves_torch_and_transport_alone():
    assert run_fresh("import lmc.plotting, lmc.report")[1] == {"matplotlib", "xarray"}


def test_the_package_alone_imports_nothing_heavy():
    assert run_fresh("import lmc; dir(lmc)")[1] == set()


def test_the_help_is_printed_without_anything_heavy():
    printed, imported = run_fresh("runpy.run_module('lmc', run_name='__main__')")
    assert "barrier" in printed
    assert imported == set()


@pytest.mark.parametrize("package", ["torch", "ot", "matplotlib", "xarray"])
def test_the_probe_sees_what_is_imported(tmp_path: Path, package: str):
    (tmp_path / f"{package}.py").touch()
    (tmp_path / "culprit.py").write_text(f"def f():\n    import {package}\n")
    assert run_fresh("import culprit", tmp_path)[1] == set()
    assert run_fresh("import culprit; culprit.f()", tmp_path)[1] == {package}
