"""``lmc report FILE.nc ...``: results as one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lmc.cli.common import Printing, check_writable


def report(
    results: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    title: str | None = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Write results as one page that opens anywhere: figures, tables, how they were measured, references.

    For example:

        lmc report barrier.nc basin.nc -o report.html
        lmc report verdict.nc

    Parameters
    ----------
    results
        NetCDF files that lmc wrote, in the order in which they are to be read.
    output
        HTML file to write; report.html by default.
    title
        Heading of the page; by default the networks that it is about.
    """
    from lmc.report import write_report

    output = output or Path("report.html")
    check_writable(output, ".html", results)
    written = write_report(results, output, title=title)
    if printing.json:
        print(json.dumps({"output": str(written), "results": [str(one) for one in results]}))
    else:
        print(f"wrote {written} ({written.stat().st_size / 1024:.0f} KB, {len(results)} results; opens in any browser)")
