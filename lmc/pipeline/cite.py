"""Method names to the papers they come from."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence

from lmc._errors import unknown
from lmc._methods import ALIGNMENTS, FUSIONS
from lmc._reference import Reference


def citations(align: Sequence[str] | None = None, fuse: Sequence[str] | None = None) -> dict[str, str]:
    """Return the BibTeX entry of every method named.

    Parameters
    ----------
    align, fuse : sequence of str, optional
        References of alignments and of methods of fusion, options and all; every one there is where neither is given.

    Returns
    -------
    dict of str to str
        Name to entry; empty for a method that no paper stands for. A method of fusion that has the name of an alignment
        stands as ``fuse ot``.

    Raises
    ------
    UsageError
        For an unknown method, with the nearest known one.
    """
    neither = align is None and fuse is None
    names = [part for one in (ALIGNMENTS if neither else align or ()) for part in re.split(r"\+(?=[a-z])", one)]
    found = {parsed: _citation(parsed, "alignment", ALIGNMENTS) for parsed in map(_name, names)}
    for parsed in map(_name, FUSIONS if neither else fuse or ()):
        text = _citation(parsed, "fusion", FUSIONS)
        found[f"fuse {parsed}" if found.get(parsed, text) != text else parsed] = text
    return found


def citations_of(methods: Iterable[str]) -> dict[str, str]:
    """Return the entries of methods that were used, for a result to carry: those with a paper, known to this tool.

    Parameters
    ----------
    methods : iterable of str
        References of alignments, as results of an alignment have them; a user's own method is passed over.
    """
    parts = [part for one in methods for part in re.split(r"\+(?=[a-z])", one)]
    known = [part for part in parts if part.partition("?")[0] in ALIGNMENTS]
    return {name: entry for name, entry in citations(known).items() if entry} if known else {}


def _name(reference: str) -> str:
    return Reference.parse(reference).name


def _citation(name: str, kind: str, table: dict[str, str]) -> str:
    if name not in table:
        raise unknown(kind, name, table)
    module, _, place = table[name].partition(":")
    return getattr(importlib.import_module(module), place).citation
