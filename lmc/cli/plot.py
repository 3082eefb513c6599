"""``lmc plot FILE.nc``: the figure of a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from lmc._errors import MismatchError, UsageError
from lmc.cli.common import Printing, check_writable

if TYPE_CHECKING:
    import xarray as xr


def plot(
    file: Path,
    /,
    *,
    kind: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    size: Literal["column", "page", "slide"] | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Draw a result: any netCDF file that this tool wrote.

    For example:

        lmc plot barrier.nc
        lmc plot basin.nc --kind basin-surface -o surface.pdf
        lmc plot sweep.nc --size page -o matrix.svg
        lmc plot barrier.nc --kind examples --data mnist

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
    data
        With --kind examples: the dataset that was measured on, whose images or texts are shown; without it, curves.
    data_dir
        Folder of datasets, as for lmc barrier.
    """
    from lmc import plotting, schema
    from lmc.cli.common import free_name

    if output is not None:
        plotting.figure_format(output)
        check_writable(output, inputs=[file])
    dataset = schema.read(file)
    kind = kind or plotting.natural_figure(dataset)
    settings: dict[str, Any] = {} if size is None else {"size": size}
    if data is not None:
        settings["examples"] = _examples(dataset, kind, data, data_dir)
    drawn = plotting.plot(dataset, kind, **settings)
    written = plotting.save_figure(drawn.figure, output or free_name(file.stem, ".png"))
    if printing.json:
        print(json.dumps({"kind": dataset.attrs["lmc_kind"], "figure": kind, "written": [str(written)]}))
    else:
        print(f"wrote {written}")


def _examples(dataset: xr.Dataset, kind: str, data: str, data_dir: Path | None) -> Any:
    """Return what the measured examples are: images as arrays, tokens as texts."""
    import torch

    from lmc.datasets import open_data

    if kind != "examples":
        raise UsageError(f"--data is for --kind examples, not for {kind!r}.")
    split = str(dataset["split"].item())
    opened = open_data(data, split, data_dir)
    if "data_digest" in dataset.attrs and opened.digest != dataset.attrs["data_digest"]:
        measured = dataset.attrs.get("data", "other data")
        raise MismatchError(
            f"--data {data} ({split}) is not what was measured on, which was {measured}: digests differ."
        )
    inputs = torch.cat([batch for batch, _ in opened.batches(1000)]).numpy()
    if opened.task == "tokens":
        return [" ".join(map(str, row)) for row in inputs.tolist()]
    return inputs
