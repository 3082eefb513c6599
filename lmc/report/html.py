"""HTML from nested calls, in which every text is escaped unless it was made by these calls."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

_VOID = frozenset({"meta", "br", "hr", "wbr"})
# What is no character of HTML, or turns the direction of the text around it.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Markup that is finished: it is not escaped again."""

    __slots__ = ()


Content: TypeAlias = "str | Iterable[Content] | None"
"""Text (escaped), markup, nothing, or a sequence of these."""


def printable(text: object) -> str:
    """Return a text without control characters, each replaced by the sign for what cannot be shown."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(text))


def escaped(content: Content) -> str:
    """Return content as markup."""
    if content is None:
        return ""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return html.escape(printable(content))
    return "".join(map(escaped, content))


def el(element: str, *content: Content, **attributes: str | bool | None) -> Html:
    """Return an element.

    Parameters
    ----------
    element : str
        Its name.
    *content
        What it holds: text is escaped, elements are not.
    **attributes
        Underscores in names become hyphens, one at the end is dropped (``class_``); True has no value, None and False
        are left out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if element in _VOID:
        return Html(f"<{element}{written}>")
    return Html(f"<{element}{written}>{escaped(content)}</{element}>")


def _attribute(key: str, value: str | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{escaped(str(value))}"'


def table(
    caption: Content, head: Sequence[Content], rows: Iterable[Sequence[Content]], *, numbers: bool = True
) -> Html:
    """Return a table whose first cell of a row heads it, in a box that scrolls where the table is wider.

    Parameters
    ----------
    caption : content
        What the table shows; also the name of the box for screen readers.
    head : sequence of content
        Names of the columns.
    rows : iterable of sequences of content
        Cells.
    numbers : bool
        Whether cells are numbers, which are set flush right.
    """
    lines = [el("tr", el("th", first, scope="row"), [el("td", cell) for cell in rest]) for first, *rest in rows]
    columns = el("thead", el("tr", [el("th", name, scope="col") for name in head])) if any(head) else None
    whole = el("table", el("caption", caption), columns, el("tbody", lines), class_="numbers" if numbers else None)
    label = html.unescape(re.sub("<[^>]*>", "", escaped(caption)))
    return el("div", whole, class_="scroll", role="region", aria_label=label, tabindex="0")


def bullets(items: Iterable[Content]) -> Html | None:
    """Return a list, or nothing where there are no items."""
    lines = [el("li", item) for item in items]
    return el("ul", lines) if lines else None


def listed(items: Iterable[Content], last: str = ".") -> list[Content]:
    """Return items as one sentence, semicolons between them."""
    parts: list[Content] = []
    for item in items:
        parts += ["; ", item] if parts else [item]
    return [*parts, last]


def code(text: object) -> Html:
    """Return a name or a command as it was typed."""
    return el("code", str(text))
