"""Figures as SVG inside a page: ids of their own, a text for those who do not see them, no styles that leak."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib
from matplotlib.figure import Figure, SubFigure

from lmc.report.html import Html, printable

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_DROPPED = {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}
_POINTS_TO = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure | SubFigure, name: str, alt: str) -> Html:
    """Return a figure as an SVG element, the same text for the same figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or SubFigure
        Any figure; of a part, the whole figure is taken.
    name : str
        What sets its ids apart from those of other figures on the page.
    alt : str
        What it shows, in words.
    """
    whole = figure if isinstance(figure, Figure) else figure.figure
    buffer = io.StringIO()
    # Text stays text: it can be searched and copied, and the browser has the glyphs that matplotlib's font lacks.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lmc"}):
        whole.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(printable(buffer.getvalue()))
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in _DROPPED]:
            parent.remove(child)
    for element in root.iter():
        _rename(element, name)
    for size in ("width", "height"):
        root.attrib.pop(size, None)  # the page says how wide; the viewBox how high in proportion
    root.set("role", "img")
    root.set("aria-label", printable(alt))
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return Html(ET.tostring(root, encoding="unicode"))


def _rename(element: ET.Element, name: str) -> None:
    """Give an element's id, and what it points to, the figure's name in front."""
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key in ("href", f"{{{_XLINK}}}href") and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        elif "url(#" in value:
            element.set(key, _POINTS_TO.sub(rf"url(#{name}-\1)", value))
