"""What the report says about one result, before it is a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure, SubFigure

from lmc._errors import SchemaError, UsageError
from lmc.plotting import plot
from lmc.report.html import Content, Html
from lmc.report.literal import literal


@dataclass(frozen=True)
class Shown:
    """A figure, what it shows in words, and its caption."""

    figure: Figure | SubFigure
    alt: str
    caption: Content


@dataclass(frozen=True)
class Section:
    """One result: what was found, how it looks, how it was measured, what to keep in mind.

    Parameters
    ----------
    title : str
        The heading.
    finding : content
        The result in a sentence or two.
    figures, tables : sequence
        In the order in which they are read.
    method : sequence of content
        What was measured and how, a paragraph each.
    caveats : sequence of content
        What has to be known before a number is quoted.
    terms : sequence of str
        Words of :data:`lmc.report.terms.TERMS` that a reader may not know.
    """

    title: str
    finding: Sequence[Content]
    figures: Sequence[Shown] = ()
    tables: Sequence[Html] = ()
    method: Sequence[Content] = ()
    caveats: Sequence[Content] = ()
    terms: Sequence[str] = field(default=())


def number(value: Any, digits: int = 3) -> str:
    """Return a number with a fixed number of digits, in powers of ten where that would hide it."""
    value = float(value)
    if not np.isfinite(value):
        return "n/a" if np.isnan(value) else ("∞" if value > 0 else "−∞")
    text = f"{value:.{digits}f}"
    if value and (abs(value) >= 1e6 or float(text) == 0):
        text = f"{value:.2g}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def with_interval(value: Any, bounds: Any) -> str:
    """Return a number and its interval, ``0.061 [0.052, 0.071]``."""
    low, high = np.asarray(bounds, dtype=np.float64)
    if not np.isfinite(float(value)):
        return "n/a"
    return f"{number(value)} [{number(low)}, {number(high)}]"


def sentence(text: object) -> str:
    """Return words as a sentence; nothing for nothing."""
    words = str(text).strip().rstrip(".")
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def units(variable: xr.DataArray) -> str:
    """Return the unit as it is written behind a number, with the space before it; nothing for a ratio."""
    unit = str(variable.attrs["units"])
    return "" if unit == "1" else f" {unit}"


def heading(name: str, variable: xr.DataArray) -> str:
    """Return the name of a column with its unit."""
    unit = str(variable.attrs["units"])
    return name if unit == "1" else f"{name} ({unit})"


def read_json(attrs: Mapping[Any, Any], name: str) -> Any:
    """Return an attribute that holds JSON text; as it is where it holds none."""
    value = attrs.get(name)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def as_mapping(attrs: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Return an attribute that holds a JSON object; empty where it does not."""
    value = read_json(attrs, name)
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else {}


def as_list(attrs: Mapping[Any, Any], name: str) -> list[str]:
    """Return an attribute that holds a JSON list as texts; one text where it holds something else."""
    value = read_json(attrs, name)
    if value is None or value == "":
        return []
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def shown_if_drawn(dataset: xr.Dataset, kind: str | None, alt: str, caption: Content, **settings: Any) -> list[Shown]:
    """Return a figure of `lmc.plotting`, the natural one where ``kind`` is None; none where none suits the data."""
    try:
        figure = plot(literal(dataset), kind, **settings).figure
    except UsageError:
        return []
    return [Shown(figure, alt, caption)]


def need(dataset: xr.Dataset, *names: str) -> None:
    """Raise SchemaError where an attribute is missing that the report cannot do without."""
    for name in names:
        if name not in dataset.attrs:
            raise SchemaError(f"No attribute {name!r} in this {dataset.attrs['lmc_kind']} dataset.")


def checkpoint_names(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Return what the checkpoints are called: A, B, C to file names, with folders where names alone are equal."""
    sources = {
        key[0].upper(): PurePath(str(attrs[key])) for key in ("a_source", "b_source", "c_source") if key in attrs
    }
    short = {letter: source.name for letter, source in sources.items()}
    if len(set(short.values())) == len(short):
        return short
    return {letter: "/".join(source.parts[-2:]) for letter, source in sources.items()}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return names without their folders, where they stay apart."""
    short = {name: PurePath(name).name or name for name in names}
    return short if len(set(short.values())) == len(set(names)) else {name: name for name in names}


def between(attrs: Mapping[Any, Any]) -> str:
    """Return which networks a result is about, ``0.pt and 1.pt``."""
    names = list(checkpoint_names(attrs).values())
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names) or "two networks"


def examples_of(dataset: xr.Dataset) -> str:
    """Return what was measured on: ``mnist test, 10,000 examples``."""
    name = str(dataset.attrs.get("data_name") or dataset.attrs.get("data") or "data")
    split = str(dataset["split"].item())
    count = f", {dataset.sizes['example']:,} examples" if "example" in dataset.sizes else ""
    return f"{name}{'' if split == 'all' else f' {split}'}{count}"


def confidence(attrs: Mapping[Any, Any]) -> str:
    """Return the coverage of the intervals, ``95%``."""
    try:
        return f"{100 * float(attrs.get('confidence', 0.95)):g}%"
    except (TypeError, ValueError):
        return "95%"
