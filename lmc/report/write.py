"""Results to one page: read, described, drawn, written whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import xarray as xr

from lmc import schema
from lmc._errors import LmcError, SchemaError, UsageError
from lmc._files import replacing
from lmc.report.adaptive import adaptive_section
from lmc.report.alignment import alignment_section
from lmc.report.barrier import barrier_section
from lmc.report.basin import basin_section
from lmc.report.conjecture import conjecture_section
from lmc.report.fusion import fusion_section
from lmc.report.page import make_page
from lmc.report.section import Section, between
from lmc.report.study import study_section
from lmc.report.sweep import sweep_section

_SECTIONS: Mapping[str, Callable[[xr.Dataset], Section]] = {
    "barrier": barrier_section,
    "adaptive": adaptive_section,
    "basin": basin_section,
    "alignment": alignment_section,
    "fusion": fusion_section,
    "sweep": sweep_section,
    "conjecture": conjecture_section,
    "study": study_section,
}
# What damaged values do to code that takes them for what the schema says they are.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

Result = xr.Dataset | str | os.PathLike[str]


def write_report(results: Result | Sequence[Result], path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write a page about one result or several: figures, tables, provenance, references; it opens offline.

    Parameters
    ----------
    results : xarray.Dataset, path, or a sequence of them
        Results of any kind (docs/schema.md), in the order in which they are to be read.
    path : path-like
        HTML file; an existing one is replaced only when the new one is complete.
    title : str, optional
        Heading of the page; by default the networks that it is about.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SchemaError
        If a file is damaged or no result; the message names it, and what is missing.
    UsageError
        If there are no results, or one cannot be drawn.
    """
    page = make_report(results, title=title)
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return Path(path)


def make_report(results: Result | Sequence[Result], *, title: str | None = None) -> str:
    """Return the page that :func:`write_report` writes, the same text for the same results."""
    given = [results] if isinstance(results, (xr.Dataset, str, os.PathLike)) else list(results)
    if not given:
        raise UsageError("A report needs at least one result.")
    opened = [_opened(one, i) for i, one in enumerate(given, 1)]
    with warnings.catch_warnings():
        # The font of the figures lacks it, the browser's has it: text stays text in them. Odd names can be too long for
        # a figure; they are whole in the tables.
        for message in (r"Glyph \d+ .* missing from", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", message, UserWarning)
        described = [(name, dataset, _described(name, dataset)) for name, dataset in opened]
        return make_page(title or _title(opened), described)


def _title(opened: Sequence[tuple[str, xr.Dataset]]) -> str:
    """Return which networks the page is about, where all results are about the same."""
    about = {between(dataset.attrs) for _, dataset in opened if "a_source" in dataset.attrs}
    return "Linear mode connectivity" + (f" of {about.pop()}" if len(about) == 1 else "")


def _opened(result: Result, place: int) -> tuple[str, xr.Dataset]:
    if isinstance(result, xr.Dataset):
        schema.validate(result)
        return f"result {place}", result
    return Path(result).name, schema.read(result)


def _described(name: str, dataset: xr.Dataset) -> Section:
    kind = dataset.attrs["lmc_kind"]
    if kind not in _SECTIONS:
        raise UsageError(f"{name}: there is no report of a result of kind {kind!r}; known: {', '.join(_SECTIONS)}.")
    try:
        return _SECTIONS[kind](dataset)
    except LmcError as error:
        raise type(error)(f"{name}: {error}") from error
    except _DAMAGE as error:
        said = f"{type(error).__name__}: {error}"
        raise SchemaError(
            f"{name}: values of this {dataset.attrs['lmc_kind']} dataset make no sense ({said})"
        ) from error
