"""``lmc plot FILE.nc``: the figure of a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lmc.cli.common import Printing, check_writable


def plot(
    file: Path,
    /,
    *,
    kind: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    size: Literal["column", "page", "slide"] | None = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Draw a result: any netCDF file that this tool wrote.

    For example:

        lmc plot barrier.nc
        lmc plot basin.nc --kind basin-surface -o surface.pdf
        lmc plot sweep.nc --size page -o matrix.svg

    Parameters
    ----------
    file
        A result of lmc barrier, basin, curve, align --result, conjecture or any other command that writes one.
    kind
        Which figure, of a result that has several: barrier, basin, basin-surface, adaptive, ... By default the natural
        one of the result. An unknown name lists all.
    output
        Figure to write (png, pdf, svg); FILE.png, or the next free number, by default.
    size
        For one column of a paper, a page, or a slide (half as wide as one: text grows with it); by default what suits
        the figure.
    """
    from lmc import plotting, schema
    from lmc.cli.common import free_name

    if output is not None:
        plotting.figure_format(output)
        check_writable(output, inputs=[file])
    dataset = schema.read(file)
    kind = kind or plotting.natural_figure(dataset)
    drawn = plotting.plot(dataset, kind, **({} if size is None else {"size": size}))
    written = plotting.save_figure(drawn.figure, output or free_name(file.stem, ".png"))
    if printing.json:
        print(json.dumps({"kind": dataset.attrs["lmc_kind"], "figure": kind, "written": [str(written)]}))
    else:
        print(f"wrote {written}")
