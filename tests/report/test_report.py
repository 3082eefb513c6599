"""The report as a page: complete, escaped, the same every time; the browser is asked in test_report_browser.py."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import xarray as xr
from fake_pairs import fake_conjecture, fake_sweep
from hostile import MARK, hostile
from plotting.conftest import fake_barrier, fake_basin
from plotting.fake_alignment import fake_alignment

from lmc import schema
from lmc._errors import SchemaError, UsageError
from lmc.cli import main
from lmc.report import make_report, write_report
from lmc.report.html import el, table


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def test_every_kind_says_its_own():
    conjecture = fake_conjecture()
    conjecture.attrs["caveats"] = '["two <b>caveats</b>", "at least"]'
    results = [conjecture, fake_sweep(), fake_alignment(plan=True, correlation=True)]
    page = Page(make_report(results))
    shown = [(svg["aria-label"] or "").split()[0] for svg in page.all("svg")]
    assert shown == ["Verdicts", "Error", "Loss", "Cosine", "How"]
    for words in (
        "5 models, 10 pairs: 4 of 10 connected.",
        "not by anything tried",
        "planted",
        "two <b>caveats</b>",
        "a copy of the first",
        "Sweep over 10 pairs of 5 checkpoints",
        "2 of 4 units moved",
        "Seed 0.",
    ):
        assert words in page.text, words
    with pytest.raises(SchemaError, match="No attribute 'summary' in this conjecture dataset"):
        del conjecture.attrs["summary"]
        make_report(conjecture)


@pytest.fixture
def small() -> xr.Dataset:
    return fake_barrier(points=5, accuracy=False)


@pytest.fixture(scope="module")
def text() -> str:
    """A page of three results, two of them alike."""
    first = fake_barrier(points=5)
    first.attrs |= {"a_source": "runs/0.pt", "a_sha256": "ab" * 32, "command": "lmc barrier 0.pt 1.pt", "seed": 7}
    return make_report([first, fake_basin(), fake_barrier(points=5)])


def test_a_report_says_figures_numbers_and_provenance(text: str):
    page = Page(text)
    for word in (
        "0.pt",
        "ab" * 32,
        "lmc barrier 0.pt 1.pt",
        "1.200 [1.080, 1.440]",
        "Keep in mind",
        "entezari2022role",
    ):
        assert word in page.text
    assert len(page.all("figure")) == len(page.all("figcaption")) == 6
    labels = [svg["aria-label"] or "" for svg in page.all("svg")]
    assert len(labels) == 6
    assert "none: 0.080 at A, 1.300 at t = 0.50, 0.120 at B nats." in labels[0]
    assert "A and B aligned lie in one component" in labels[2]


def test_what_is_said_comes_from_the_data():
    high, same = (make_report(fake_barrier({"none": 2.0}, points=5, accuracy=False)) for _ in range(2))
    low = make_report(fake_barrier({"none": 1.0}, points=5, accuracy=False))
    assert "2.100 at t = 0.50" in high and "2.100 at t = 0.50" not in low
    assert high == same != low


def test_structure_for_keyboards_and_screen_readers(text: str):
    page = Page(text)
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))
    assert {tag for tag, _ in page.elements} >= {"main", "nav", "header", "h1"}
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    named = [attrs["aria-labelledby"] for attrs in page.all("section")]
    assert named and set(named) <= set(ids)
    assert all((link["href"] or "")[1:] in ids for link in page.all("a"))
    assert page.all("html") == [{"lang": "en"}]


def test_ids_are_unique_and_references_find_them(text: str):
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids)) > 10
    pointed = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)
    assert pointed and {one or other for one, other in pointed} <= set(ids)


def test_whatever_names_and_metadata_hold_is_text(text: str):
    hostiles = [hostile(fake_barrier(points=5)), hostile(fake_basin())]
    attack = make_report(hostiles, title=MARK)
    plain, attacked = Page(text), Page(attack)
    assert not attacked.all("script") and not attacked.all("img")
    assert not [name for _, attrs in attacked.elements for name in attrs if name.startswith("on")]
    assert {tag for tag, _ in attacked.elements} == {tag for tag, _ in plain.elements}
    assert '<script>alert("x")</script>' in attacked.text  # it is there, to be read
    assert not re.search("[\x00-\x08\x1b\u202e]", attack)


def test_the_reader_of_the_test_sees_an_attack():
    assert Page(f"<p>{MARK}</p>").all("script")
    assert not Page(el("p", MARK, title=MARK)).all("script")
    assert not Page(table(MARK, [MARK], [[MARK, MARK]])).all("script")


def test_nothing_is_loaded_or_run(text: str):
    page = Page(text)
    policy = next(meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'") and "script" not in policy
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    assert len(page.all("style")) == 1


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, small: xr.Dataset):
    good, bad, page = tmp_path / "good.nc", tmp_path / "bad.nc", tmp_path / "report.html"
    schema.write(small, good)
    bad.write_bytes(good.read_bytes()[:3000])
    with pytest.raises(SchemaError, match=r"bad\.nc cannot be read as netCDF4"):
        write_report([good, bad], page)
    assert not page.exists()
    assert write_report([good], page).read_text(encoding="utf-8") == make_report(good)
    with pytest.raises(UsageError, match="at least one"):
        make_report([])


def test_values_that_make_no_sense_are_said_by_name(small: xr.Dataset):
    words = small.assign(loss=(("alignment", "t"), small["loss"].values.astype(str), small["loss"].attrs))
    with pytest.raises(SchemaError, match="result 1: values of this barrier dataset make no sense"):
        make_report(words)


def test_the_command(tmp_path: Path, small: xr.Dataset, capsys: pytest.CaptureFixture[str]):
    good, foreign, page = tmp_path / "good.nc", tmp_path / "foreign.nc", tmp_path / "out.html"
    schema.write(small, good)
    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(foreign, engine="netcdf4")
    main(["report", str(good), "-o", str(page)])
    assert "wrote" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    command = [sys.executable, "-m", "lmc", "report", str(good), str(foreign), "-o", str(page)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 3
    assert "foreign.nc" in refused.stderr and "lmc_kind" in refused.stderr
