"""The report in a real browser: nothing runs over the edge, nothing is complained about, every figure has a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from hostile import hostile
from plotting.conftest import fake_barrier, fake_basin

from lmc.report import write_report

WIDTHS = (1280, 390)

PROBE = """(() => {
  const width = document.documentElement.clientWidth;
  const hidden = element => element.closest('.skip') || (element.closest('.scroll') && !element.matches('.scroll'));
  const wide = [...document.body.querySelectorAll('*')]
    .filter(element => !hidden(element) && element.getBoundingClientRect().right > width + 1);
  const silent = [...document.querySelectorAll('figure')].filter(figure => {
    const image = figure.querySelector('[role=img], img');
    return !image || !(image.getAttribute('aria-label') || image.getAttribute('alt') || '').trim();
  });
  return {
    overflow: document.scrollingElement.scrollWidth - width,
    wide: wide.map(element => element.tagName),
    silent: silent.length,
    figures: document.querySelectorAll('figure').length,
    alerts: document.querySelectorAll('script').length,
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
    drawn: [...document.querySelectorAll('figure svg')].every(image => image.getBoundingClientRect().height > 100),
  };
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    program = chromium.find()
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(chromium.NAMES)} (apt install chromium)")
    with chromium.browser(program, tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = [fake_barrier(points=5), fake_basin(), hostile(fake_barrier(points=5, accuracy=False))]
    results[0].attrs |= {"a_source": f"/{'very-long-folder/' * 9}a.pt", "a_sha256": "ab" * 32}
    return write_report(results, tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_nothing_is_complained_about(tab: chromium.Browser, page: Path, width: int):
    tab.open(page, width)
    seen = tab.evaluate(PROBE)
    assert (seen["overflow"], seen["wide"], tab.errors) == (0, [], [])
    assert (seen["figures"], seen["silent"], seen["alerts"], seen["drawn"]) == (5, 0, 0, True)


def test_it_follows_the_readers_choice_of_light_or_dark(tab: chromium.Browser, page: Path):
    colours = []
    for dark in (False, True):
        tab.open(page, 1280, dark=dark)
        seen = tab.evaluate(PROBE)
        colours.append((seen["ink"], seen["paper"]))
    assert colours[0] != colours[1]
    tab.open(page, 1280, dark=True, media="print")
    printed = tab.evaluate(PROBE)
    assert (printed["ink"], printed["paper"]) == colours[0]


def test_the_probe_sees_what_is_wrong(tab: chromium.Browser, tmp_path: Path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><title>bad</title><body><div style='width:2000px'>wide</div><figure><svg></svg></figure>"
        "<script>console.error('no'); throw new Error('never')</script>",
        encoding="utf-8",
    )
    tab.open(bad, 390)
    seen = tab.evaluate(PROBE)
    assert seen["overflow"] > 1000 and "DIV" in seen["wide"] and seen["silent"] == 1
    assert len(tab.errors) == 2
