"""Names as they are: in figures a dollar sign would begin a formula, and an odd one stop the drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from lmc.report.html import printable

_LABEL = 56  # characters of a name in a figure; tables have them all
_WORDS = 120


def literal(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose texts matplotlib shows letter by letter, the longest cut; nothing is modified.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any result: names of checkpoints, alignments and units come from whoever wrote the file.
    """
    shown = dataset.copy()
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OUS":
            shown[name] = _shown(variable)
        shown[name].attrs = _attrs(variable.attrs)
    shown.attrs = _attrs(dataset.attrs)
    return shown


def _shown(variable: xr.Variable) -> xr.Variable:
    texts = [_text(value) for value in variable.values.ravel().tolist()]
    short = [_escape(text, _LABEL) for text in texts]
    if len(set(short)) < len(set(texts)):  # labels have to stay apart
        short = [f"{one} ({place})" if len(texts[place]) > _LABEL else one for place, one in enumerate(short)]
    return xr.Variable(variable.dims, np.array(short, dtype=str).reshape(variable.shape))


def _attrs(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: _escape(value, _WORDS) if isinstance(value, str) else value for name, value in attrs.items()}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _escape(text: str, most: int) -> str:
    text = printable(text)
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")
