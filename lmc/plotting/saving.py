"""Writing figures: the format by the extension, the file whole or absent, the same bytes for the same figure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure, SubFigure

from lmc._errors import UsageError, did_you_mean
from lmc._files import replacing

# What would make two equal figures differ: the time of writing.
_METADATA = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}

# Text stays text (a journal asks for TrueType in PDF), and SVG ids do not depend on the run.
_SAVING: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "lmc"}


def save_figure(figure: Figure | SubFigure, path: str | os.PathLike[str], *, dpi: float = 300) -> Path:
    """Write a figure as PNG, PDF or SVG, to a temporary name first.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        Any figure; it is not changed. Of a part, the whole figure is written.
    path : path-like
        Where it goes, ending in ``.png``, ``.pdf`` or ``.svg``. Missing folders are made, an existing file is replaced
        only when the new one is complete.
    dpi : float
        Dots per inch of a PNG, and of what is an image inside the others.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    UsageError
        For another extension, with the nearest known one.
    """
    path = Path(path)
    extension = figure_format(path)
    with matplotlib.rc_context(_SAVING), replacing(path) as partial:
        whole = figure if isinstance(figure, Figure) else figure.figure
        whole.savefig(partial, format=extension, dpi=dpi, metadata=_METADATA[extension])
    return path


def figure_format(path: str | os.PathLike[str]) -> str:
    """Return the format that a file name asks for, so that a wrong one is refused before anything is computed."""
    extension = Path(path).suffix.lower().lstrip(".")
    if extension not in _METADATA:
        hint = did_you_mean(extension, _METADATA)
        raise UsageError(f"Cannot tell the figure format of {str(path)!r}.{hint} Known: {', '.join(_METADATA)}.")
    return extension
