"""The gallery: short scripts over committed results, each with its pictures in the docs; matplotlib is left alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "figures").glob("fig_*.py"))
GALLERY = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
ALLOWED = {"common", "lmc", "matplotlib", "xarray"}
MATPLOTLIB = """
import matplotlib, matplotlib.style, sys
sys.path.insert(0, sys.argv[1])
# dict(rcParams) would choose a backend and import pyplot
before = matplotlib.rcParams.copy(), matplotlib.get_backend(auto_select=False), list(matplotlib.style.available)
from fake_pairs import fake_conjecture, fake_sweep, fake_widths
import lmc.plotting
for dataset in (fake_conjecture(), fake_sweep(), fake_widths()):
    lmc.plotting.plot(dataset)
print("matplotlib.pyplot" in sys.modules)
after = matplotlib.rcParams.copy(), matplotlib.get_backend(auto_select=False), list(matplotlib.style.available)
print([one == other for one, other in zip(before, after)])
matplotlib.rcParams["font.size"] = 99
print(before[0] == matplotlib.rcParams.copy())
"""


def imported(source: str) -> set[str]:
    """Return what a script imports: packages, and of lmc the room."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_short_and_sees_results_only(script: Path):
    source = script.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 30
    names = imported(source)
    assert {name.split(".")[0] for name in names} <= ALLOWED
    assert all(name.startswith(("lmc.plotting", "lmc.schema")) for name in names if name.startswith("lmc"))
    named = re.findall(r'result\("\w+"\)', source)
    assert len(named) == source.count("result(") > 0, "what figures/all.py looks for is written out"
    assert script.name in GALLERY or not results(source), f"{script.name} is not in docs/gallery.md"


def results(source: str) -> list[str]:
    """Return the committed results that a script names, but those that are not there."""
    return [name for name in re.findall(r'result\("(\w+)"\)', source) if (ROOT / "data" / f"{name}.nc").exists()]


def test_the_reader_of_scripts_can_object():
    assert imported("import torch\nfrom lmc import pipeline\nfrom lmc.evaluation import evaluate") == {
        "torch",
        "lmc",
        "lmc.evaluation",
    }


def test_every_picture_of_the_gallery_is_there_and_described():
    pictures = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]+)">', GALLERY)
    assert len(pictures) == GALLERY.count("<img") > 10
    for path, text in pictures:
        assert (ROOT / "docs" / path).read_bytes().startswith(b"\x89PNG"), path
        assert len(text) > 30, f"{path} is hardly described"
    shown = {Path(path).name for path, _ in pictures}
    assert shown == {path.name for path in (ROOT / "docs" / "img" / "gallery").iterdir()}


def test_settings_backend_and_styles_are_as_they_were():
    command = [sys.executable, "-c", MATPLOTLIB, str(ROOT / "tests")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["False", "[True, True, True]", "False"], done.stderr
