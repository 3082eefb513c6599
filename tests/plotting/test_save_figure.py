"""Saving a figure: the format by its extension, whole or not at all, equal bytes for equal figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
import xarray as xr
from matplotlib.figure import Figure

from lmc._errors import UsageError
from lmc.plotting import plot_barrier, save_figure

BEGINS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("extension", [*BEGINS, "PNG"])
def test_the_extension_chooses_the_format(barrier: xr.Dataset, tmp_path: Path, extension: str):
    settings = dict(matplotlib.rcParams)
    path = save_figure(plot_barrier(barrier).figure, tmp_path / "new" / f"figure.{extension}")
    assert path.read_bytes().startswith(BEGINS[extension.lower()])
    assert list(path.parent.iterdir()) == [path], "no temporary file is left"
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("extension", BEGINS)
def test_equal_figures_are_equal_files(barrier: xr.Dataset, tmp_path: Path, extension: str):
    first, second, other = (tmp_path / f"{name}.{extension}" for name in ("first", "second", "other"))
    save_figure(plot_barrier(barrier).figure, first)
    save_figure(plot_barrier(barrier).figure, second)
    save_figure(plot_barrier(barrier, baseline="mean").figure, other)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_text_stays_text_in_vector_formats(barrier: xr.Dataset, tmp_path: Path):
    figure = plot_barrier(barrier).figure
    assert b">test loss (nats)</text>" in save_figure(figure, tmp_path / "figure.svg").read_bytes()
    assert b"/Type3" not in save_figure(figure, tmp_path / "figure.pdf").read_bytes()


@pytest.mark.parametrize(
    ("name", "hint"), [("f.pgn", "Did you mean 'png'"), ("f.xyz", "Known: png, pdf, svg"), ("f", "'f'")]
)
def test_other_formats_are_refused_with_the_nearest(tmp_path: Path, name: str, hint: str):
    with pytest.raises(UsageError, match="Cannot tell the figure format") as caught:
        save_figure(Figure(), tmp_path / name)
    assert hint.strip("'") in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_failing_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save_figure(Figure(), tmp_path / "figure.png")
    before = path.read_bytes()

    def fail(self: Figure, target: Path, **options: object) -> None:
        target.write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
