"""One self-contained page of several results: nothing is loaded from elsewhere, nothing in it is executed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from lmc.report.html import Html, bullets, code, el
from lmc.report.provenance import checkpoints_table, settings_table, versions_of
from lmc.report.references import references
from lmc.report.section import Section, Shown
from lmc.report.svg import inline_svg
from lmc.report.terms import TERMS

_REM_PER_INCH = 8.25
_STYLE = Path(__file__).with_name("page.css")


def make_page(title: str, results: Sequence[tuple[str, xr.Dataset, Section]]) -> str:
    """Return the page as text.

    Parameters
    ----------
    title : str
        The heading of the page.
    results : sequence of (str, xarray.Dataset, Section)
        Name of the file, what is in it, and what is said about it.
    """
    style = _STYLE.read_text(encoding="utf-8")
    datasets = [dataset for _, dataset, _ in results]
    parts = [_result(f"r{i}", name, section) for i, (name, _, section) in enumerate(results, 1)]
    links = [(f"r{i}", section.title) for i, (_, _, section) in enumerate(results, 1)]
    ends = [("terms", "Terms"), ("provenance", "Provenance"), ("references", "References")]
    menu = el("nav", bullets(el("a", text, href=f"#{at}") for at, text in [*links, *ends]), aria_label="Contents")
    body = el(
        "body",
        el("a", "Skip to the results", href="#main", class_="skip"),
        el("header", el("h1", title), el("p", _made_by(datasets), class_="lead")),
        menu,
        el(
            "main",
            parts,
            _part("terms", "Terms", _terms([section for *_, section in results])),
            _part("provenance", "Provenance", *_provenance(results)),
            _part("references", "References", *_references(datasets)),
            id="main",
        ),
    )
    return f"<!doctype html>\n{el('html', _head(title, style), body, lang='en')}\n"


def _head(title: str, style: str) -> Html:
    # The one style sheet is known by its digest; matplotlib's figures carry style attributes. Browsers that do not know
    # style-src-elem fall back to style-src. Nothing else may be loaded, sent or run.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; style-src-elem 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", Html(style)),
    )


def _made_by(datasets: Sequence[xr.Dataset]) -> str:
    version = versions_of(datasets[0].attrs).get("lmc")
    what = "one result" if len(datasets) == 1 else f"{len(datasets)} results"
    return f"Report of {what} of linear mode connectivity, measured with lmc{f' {version}' if version else ''}."


def _part(at: str, title: str, *content: Html | None) -> Html:
    return el("section", el("h2", title, id=f"{at}-title"), content, id=at, aria_labelledby=f"{at}-title")


def _result(at: str, name: str, section: Section) -> Html:
    figures = [_figure(f"{at}-f{i}", shown) for i, shown in enumerate(section.figures, 1)]
    return _part(
        at,
        section.title,
        Html("".join(el("p", sentence, class_="finding") for sentence in section.finding)),
        el("div", figures, class_="figures") if figures else None,
        Html("".join(section.tables)),
        el("h3", "What was measured, and how") if section.method else None,
        Html("".join(el("p", paragraph) for paragraph in section.method)),
        el("h3", "Keep in mind") if section.caveats else None,
        bullets(section.caveats),
        el("p", "From ", code(name), class_="lead"),
    )


def _figure(name: str, shown: Shown) -> Html:
    # On paper its own size; on a screen, which is looked at from further away, somewhat larger.
    width = f"width: {_REM_PER_INCH * shown.figure.bbox.width / shown.figure.dpi:.1f}rem"
    return el("figure", inline_svg(shown.figure, name, shown.alt), el("figcaption", shown.caption), style=width)


def _terms(sections: Sequence[Section]) -> Html:
    used = {word for section in sections for word in section.terms}
    return el("dl", [[el("dt", word), el("dd", text)] for word, text in TERMS.items() if word in used])


def _provenance(results: Sequence[tuple[str, xr.Dataset, Section]]) -> list[Html | None]:
    told = [checkpoints_table([dataset for _, dataset, _ in results])]
    for name, dataset, _ in results:
        told += [el("h3", code(name)), settings_table(dataset)]
    return told


def _references(datasets: Sequence[xr.Dataset]) -> list[Html]:
    entries = references(datasets)
    if not entries:
        return [el("p", "The results name no papers; ", code("lmc cite"), " prints those of every method.")]
    return [el("pre", "\n\n".join(entries), tabindex="0", role="region", aria_label="BibTeX entries")]
