"""``lmc collect FOLDER``: the units of a sweep as one dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lmc.cli.common import WRITTEN, Printing, check_writable


def collect(
    folder: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o", group=WRITTEN)],
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Join what lmc sweep has done so far into one dataset with labelled dims.

    Units that failed or are missing yet are NaN there, and the variable status says which they are.

    For example:

        lmc collect results -o sweep.nc

    Parameters
    ----------
    folder
        Folder of results.
    output
        NetCDF file to write.
    """
    from lmc import schema
    from lmc import sweep as room

    check_writable(output, ".nc")
    result = room.collect(folder, tell=lambda text: printing.note("note", text), progress=printing.progress)
    schema.write(result, output)
    counts = {name: int(result.attrs[f"units_{name}"]) for name in ("done", "failed", "missing")}
    if printing.json:
        print(json.dumps({**counts, "output": str(output)}))
        return
    sizes = ", ".join(f"{size} {name}" for name, size in result.sizes.items())
    print(f"{'units':<10}{counts['done']:,} done, {counts['failed']:,} failed, {counts['missing']:,} missing")
    print(f"{'dims':<10}{sizes}")
    print(f"wrote {output} (xarray.open_dataset)")
