"""Where results came from: checkpoints and their digests, network, data, seeds, versions, command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import xarray as xr

from lmc.report.html import Content, Html, code, table
from lmc.report.section import as_mapping, read_json

# Said elsewhere in the report, or of use to the tool alone.
_ELSEWHERE = frozenset(
    {
        "lmc_unit",
        "lmc_unit_about",
        "lmc_unit_content",
        "summary",
        "caveats",
        "citation",
        "citations",
        "looks",
        "checkpoints",
    }
)
_FIRST = tuple(
    "lmc_kind model model_assumptions data data_name data_digest task normalization alignment alignments seed "
    "bootstrap_seed".split()
)


def checkpoints_table(datasets: Sequence[xr.Dataset]) -> Html | None:
    """Return a line for every checkpoint of all results, with its digest."""
    rows: dict[tuple[str, str], list[Content]] = {}
    for dataset in datasets:
        for source, digest in _sources(dataset.attrs):
            rows.setdefault((source, digest), [PurePath(source).name, code(source), code(digest or "not known")])
    return table("Checkpoints", ["name", "file", "SHA-256"], rows.values(), numbers=False) if rows else None


def _sources(attrs: Mapping[Any, Any]) -> list[tuple[str, str]]:
    named = [(str(attrs[f"{x}_source"]), str(attrs.get(f"{x}_sha256", ""))) for x in "abc" if f"{x}_source" in attrs]
    sets = as_mapping(attrs, "checkpoints").values()
    return named + [(str(one.get("source", "")), str(one.get("sha256", ""))) for one in sets if isinstance(one, dict)]


def versions_of(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Return the versions of the packages that a result was made with."""
    return {name: str(version) for name, version in as_mapping(attrs, "versions").items()}


def settings_table(dataset: xr.Dataset) -> Html:
    """Return everything that a file says about how it was made, a line each."""
    attrs = {str(name): value for name, value in dataset.attrs.items() if str(name) not in _ELSEWHERE}
    names = [*(name for name in _FIRST if name in attrs), *sorted(attrs.keys() - {*_FIRST})]
    rows = [[code(name), _value(attrs, name)] for name in names]
    return table("All that the file says about how it was made", ["attribute", "value"], rows, numbers=False)


def _value(attrs: Mapping[str, Any], name: str) -> Content:
    value = read_json(attrs, name)
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return code(value) if name == "command" or "sha256" in name or "digest" in name else str(value)
