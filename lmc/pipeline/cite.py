"""Method names to the papers they come from."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence

from lmc._errors import unknown
from lmc._methods import ALIGNMENTS
from lmc._reference import Reference


def citations(align: Sequence[str] | None = None) -> dict[str, str]:
    """Return the BibTeX entry of every method named.

    Parameters
    ----------
    align : sequence of str, optional
        References of alignments, options and all; every alignment there is by default.

    Returns
    -------
    dict of str to str
        Name to entry; empty for a method that no paper stands for.

    Raises
    ------
    UsageError
        For an unknown method, with the nearest known one.
    """
    names = [part for one in align or ALIGNMENTS for part in re.split(r"\+(?=[a-z])", one)]
    found = {}
    for name in names:
        parsed = Reference.parse(name).name
        if parsed not in ALIGNMENTS:
            raise unknown("alignment", parsed, ALIGNMENTS)
        module, _, kind = ALIGNMENTS[parsed].partition(":")
        found[parsed] = getattr(importlib.import_module(module), kind).citation
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
