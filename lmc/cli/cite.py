"""``lmc cite``: the papers behind what was used."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from lmc.cli.common import Printing


def cite(
    *,
    align: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    fuse: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Print the BibTeX entries of the methods named, each paper once.

    For example:

        lmc cite --align ot --align weights
        lmc cite --align "ot?on=activations"
        lmc cite --fuse wb --fuse fisher

    Parameters
    ----------
    align
        Alignments, as lmc barrier takes them; all of them by default.
    fuse
        Methods of fusion, as lmc fuse takes them; all of them by default.
    """
    from lmc.pipeline.cite import citations

    found = citations(align, fuse)
    if printing.json:
        print(json.dumps(found))
        return
    bare = [f"% {name}: no paper of its own" for name, text in found.items() if not text]
    print("\n\n".join(dict.fromkeys([*bare, *filter(None, found.values())])))
