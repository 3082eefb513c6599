"""``lmc plot``: a figure of every kind of result, and a clear word where there is none to be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xarray as xr
from fake_pairs import fake_conjecture, fake_widths

from lmc import plotting, schema
from lmc.cli import main

ROOT = Path(__file__).parents[2]
DEMO = [str(path) for path in sorted((ROOT / "data" / "checkpoints").glob("mlp-*.safetensors"))]
FIGURES = {"barrier": "barrier", "conjecture": "verdicts", "sweep": "scaling"}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, Path]:
    """A barrier as ``lmc barrier`` writes it, and files of kinds that take longer to compute."""
    folder = tmp_path_factory.mktemp("results")
    main(["barrier", *DEMO, "--data", "digits?limit=100", "--points", "5", "-o", str(folder / "barrier.nc")])
    for kind, dataset in {"conjecture": fake_conjecture(), "sweep": fake_widths()}.items():
        schema.write(dataset, folder / f"{kind}.nc")
    return {kind: folder / f"{kind}.nc" for kind in FIGURES}


@pytest.mark.parametrize("kind", FIGURES)
def test_the_natural_figure_is_drawn_with_no_flags(results, kind: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["plot", str(results[kind])])
    assert capsys.readouterr().out == f"wrote {kind}.png\n"
    assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    assert plotting.natural_figure(schema.read(results[kind])) == FIGURES[kind]


def test_kind_output_and_size_are_taken(results, tmp_path: Path, capsys):
    out = tmp_path / "new" / "matrix.pdf"
    main(["plot", str(results["conjecture"]), "--kind", "barrier-matrix", "-o", str(out), "--size", "slide", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told == {"kind": "conjecture", "figure": "barrier-matrix", "written": [str(out)]}
    assert out.read_bytes().startswith(b"%PDF")


def test_without_a_name_nothing_is_replaced(results, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.png").touch()
    main(["plot", str(results["sweep"]), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told == {"kind": "sweep", "figure": "scaling", "written": ["sweep-2.png"]}


def test_examples_are_those_of_the_data_that_was_measured_on(results, tmp_path: Path, monkeypatch, capsys):
    given, save = [], plotting.save_figure

    def keep(figure, path):
        given.append([image for ax in figure.axes for part in ax.child_axes for image in part.images])
        return save(figure, path)

    monkeypatch.setattr(plotting, "save_figure", keep)
    measured, out = "digits?limit=100", tmp_path / "examples.png"
    command = [str(results["barrier"]), "-o", str(out)]
    main(["plot", *command, "--kind", "examples", "--data", measured])
    main(["plot", *command, "--kind", "examples"])
    assert capsys.readouterr().out == f"wrote {out}\n" * 2
    shown, none = given
    assert len(shown) > 8 and {image.get_array().shape for image in shown} == {(8, 8)}
    assert none == [], "without --data there are curves alone"
    code, said = refused(capsys, *command, "--kind", "examples", "--data", "digits?limit=90")
    assert code == 3 and f"which was {measured}: digests differ" in said
    code, said = refused(capsys, *command, "--data", measured)
    assert code == 2 and "--data is for --kind examples, not for 'barrier'" in said


def refused(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main(["plot", *arguments])
    return int(str(left.value.code)), capsys.readouterr().err


def test_foreign_and_damaged_files_are_told_what_is_missing(results, tmp_path: Path, capsys):
    whole = results["barrier"].read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nc").write_text("not a result")
    xr.Dataset({"temperature": ("time", [1.0])}).to_netcdf(tmp_path / "weather.nc")
    lacking = schema.read(results["barrier"]).drop_vars("loss_barrier")
    lacking.to_netcdf(tmp_path / "lacking.nc")
    for name, word in {
        "cut.nc": "cannot be read as netCDF4",
        "text.nc": "cannot be read as netCDF4",
        "weather.nc": "attribute lmc_kind is None",
        "lacking.nc": "No variable named 'loss_barrier' in this barrier dataset",
        "absent.nc": "No such file",
    }.items():
        code, said = refused(capsys, str(tmp_path / name), "-o", str(tmp_path / "f.png"))
        assert code == 3 and word in said and name in said
        assert not (tmp_path / "f.png").exists()


def test_requests_that_make_no_sense_are_refused_before_drawing(results, tmp_path: Path, capsys):
    assert refused(capsys, str(results["barrier"]), "-o", "f.pgn")[0] == 2
    code, said = refused(capsys, str(results["barrier"]), "--kind", "basin", "-o", str(tmp_path / "f.png"))
    assert code == 2 and "It has: barrier" in said
