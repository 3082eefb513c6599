"""``lmc basin A B [C]``: a plane of parameters, its basins and the saddles between its modes."""

from __future__ import annotations

import itertools
import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from lmc._errors import UsageError
from lmc.cli.common import Common, check_writable
from lmc.cli.loading import introduce, load_alike, prove, sources
from lmc.cli.resuming import choose_output, kept_parts

if TYPE_CHECKING:
    import xarray as xr

    from lmc.datasets import AbstractData
    from lmc.pipeline import Model


def basin(
    a: Path,
    b: Path | None = None,
    c: Path | None = None,
    /,
    *,
    model: str | None = None,
    data: str | None = None,
    align: str | None = None,
    align_data: str | None = None,
    random_directions: Annotated[bool, Parameter(negative="")] = False,
    spec: Path | None = None,
    resolution: int = 25,
    margin: float | None = None,
    level: Annotated[list[float] | None, Parameter(negative="", consume_multiple=True)] = None,
    neighbours: int = 4,
    recalibrate: Annotated[bool, Parameter(negative="")] = False,
    examples: Annotated[bool, Parameter(negative="")] = False,
    resume: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    figure: Path | None = None,
    surface: Path | None = None,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Measure the plane through three checkpoints, or two and the aligned copy of the second, and its basins.

    Loss and accuracy are measured on a grid. The saddle height of two modes is the least loss that every path between
    them on the grid has to reach; below it they lie in different components, from it on in one.

    For example:

        lmc basin a.pt b.pt --data mnist
        lmc basin a.pt b.pt --data mnist --align "weights?restarts=16" --level 0.3 -o basin.nc --figure basin.pdf
        lmc basin a.pt b.pt c.pt --resolution 41
        lmc basin a.pt --random-directions --seed 1

    Parameters
    ----------
    a
        Checkpoint at the origin of the plane.
    b
        Checkpoint on its first axis.
    c
        Third checkpoint; without it, B aligned to A is the third mode.
    model
        Network, as in lmc barrier.
    data
        Dataset, as in lmc barrier.
    align
        How B is aligned, where there is no third checkpoint: weights (the default), activations.
    align_data
        Dataset whose training split an alignment looks at; that of --data by default.
    random_directions
        With one checkpoint: the plane of two random, filter-normalised directions around it, drawn with --seed.
    spec
        TOML file of permutation groups, as in lmc barrier.
    resolution
        Points along the longer side of the grid, about; every mode is one of them, exactly.
    margin
        Room around the modes, as a share of the longer side of what they span (0.2 by default); around one checkpoint,
        how far to go, in norms of its filters (1 by default).
    level
        Levels of the loss at which components are told apart; by default those between two merges of basins.
    neighbours
        4, along the axes, or 8, along diagonals too: what hangs together on the grid.
    recalibrate
        Reset BatchNorm statistics on training data at every point, the modes included.
    examples
        Keep the loss of every example at every point in the netCDF file, not only means and intervals.
    resume
        Go on with what an interrupted run of the same command left in OUTPUT.parts.
    output
        NetCDF file to write; basin.nc, or the next free number, by default.
    figure
        Figure to write (png, pdf, svg); beside the netCDF file by default.
    surface
        Figure of the loss as a surface in three dimensions to write besides.
    """
    from lmc import pipeline, plotting, schema
    from lmc.datasets import open_data

    common.start()
    files = [one for one in (a, b, c) if one is not None]
    _check_request(files, align, random_directions)
    output = output or choose_output("basin", ".nc", resume)
    figure = figure or output.with_suffix(".png")
    check_writable(output, ".nc", files)
    for picture in filter(None, (figure, surface)):
        plotting.figure_format(picture)
        check_writable(picture, inputs=files)
    methods = pipeline.resolve_alignments(align or "weights", common.seed) if len(files) == 2 else {}
    models, measured = load_alike(files, model, data, common)
    introduce(models, measured, common)
    aligning = pipeline.alignment_data(methods.values(), align_data, measured, data_dir=common.data_dir)
    proof = prove(models[0], spec, common) if methods else None
    train = open_data(measured.reference, "train", common.data_dir) if recalibrate else None
    with kept_parts(output, resume, common) as parts:
        result = pipeline.basin(
            models[0].architecture.module,
            [one.state for one in models],
            measured,
            align=align or "weights",
            align_data=aligning,
            proof=proof,
            seed=common.seed,
            resolution=resolution,
            margin=margin,
            levels=level,
            neighbours=neighbours,
            recalibrate=train,
            examples=examples,
            device=common.device,
            dtype=common.torch_dtype,
            attrs={**sources(models), "command": shlex.join(["lmc", *sys.argv[1:]])},
            work=parts,
            progress=common.progress,
        )
        schema.write(result, output)
        plotting.save_figure(plotting.plot_basin(result).figure, figure)
        if surface is not None:
            plotting.save_figure(plotting.plot_basin_surface(result).figure, surface)
    written = [str(path) for path in (output, figure, surface) if path is not None]
    if common.json:
        print(json.dumps(as_json(result, models, measured, written)))
    else:
        print(f"\n{tables(result)}\n\nwrote {', '.join(written)}")


def _check_request(files: list[Path], align: str | None, random_directions: bool) -> None:
    if len(files) == 1 and not random_directions:
        raise UsageError(
            "One checkpoint spans no plane: pass a second one, or --random-directions for two directions around it."
        )
    if len(files) > 1 and random_directions:
        raise UsageError("--random-directions are around one checkpoint; through several the plane is given.")
    if len(files) != 2 and align is not None:
        raise UsageError(f"--align makes the third mode of two checkpoints, not of {len(files)}.")


def tables(result: xr.Dataset) -> str:
    """Lay a result out for reading: modes, saddles with intervals, components of each level."""
    modes = [["mode", "u", "v", "loss", *(["accuracy"] if "accuracy" in result else []), "loss at the border"]]
    for name in _names(result):
        one = result.sel(mode=name)
        accuracy = [f"{100 * float(one.mode_accuracy):.2f}"] if "accuracy" in result else []
        place = [f"{float(one.mode_u):.2f}", f"{float(one.mode_v):.2f}", f"{float(one.mode_loss):.3f}"]
        modes.append([name, *place, *accuracy, f"{float(one.escape_loss):.3f}"])
    parts = [_aligned(modes)]
    kinds = [kind for kind in ("loss", "error") if f"saddle_{kind}" in result]
    saddles = [["saddle between", *kinds]]
    for pair in _pairs(result):
        saddles.append([" and ".join(pair), *(_with_interval(result, f"saddle_{kind}", pair) for kind in kinds)])
    if len(saddles) > 1:
        parts.append(_aligned(saddles))
    return "\n\n".join([*parts, *map("\n".join, _levels(result))])


def _levels(result: xr.Dataset) -> list[list[str]]:
    """Say for each level which modes lie in one component, how large it is, and whether it ends inside the grid."""
    from lmc.barriers.plane_grid import cell_areas

    total = float(cell_areas(result.u.values, result.v.values).sum())
    found = []
    for level in result.level.values:
        lines = [f"loss <= {level:g}"]
        for one in _held(result.sel(level=level)):
            names = ", ".join(one["modes"])
            if one["area"] is None:
                lines.append(f"  {names}: above the level")
                continue
            least = "at least " if one["reaches_border"] else ""
            alone = "in a component of its own" if result.sizes["mode"] > 1 else "in a component"
            shared = "in one component" if len(one["modes"]) > 1 else alone
            share = 100 * one["area"] / total
            lines.append(f"  {names}: {shared}, {least}{share:.0f}% of the grid (area {one['area']:.4g})")
        found.append(lines)
    return found


def _held(one: xr.Dataset) -> list[dict[str, Any]]:
    """Group the modes by the component that holds them at one level; those above it stand alone."""
    groups: dict[Any, list[str]] = {}
    for name in _names(one):
        label = int(one.mode_component.sel(mode=name))
        groups.setdefault(label or name, []).append(name)
    found = []
    for key, names in groups.items():
        first = one.sel(mode=names[0])
        area = float(first.component_area) if isinstance(key, int) else None
        found.append({"modes": names, "area": area, "reaches_border": bool(first.component_open)})
    return found


def as_json(result: xr.Dataset, models: list[Model], measured: AbstractData, written: list[str]) -> dict[str, Any]:
    """Return a result as plain values; accuracies and errors in [0, 1], NaN as null."""
    of_mode = [name for name in ("u", "v", "loss", "accuracy") if f"mode_{name}" in result]
    kinds = [kind for kind in ("loss", "error") if f"saddle_{kind}" in result]
    return {
        "checkpoints": [{"source": one.checkpoint.source, "sha256": one.checkpoint.digest} for one in models],
        "model": models[0].architecture.reference,
        "data": measured.reference,
        "split": measured.split,
        "grid": [result.sizes["u"], result.sizes["v"]],
        "modes": [
            {
                "name": name,
                **{key: float(result[f"mode_{key}"].sel(mode=name)) for key in of_mode},
                "copy_of": str(result.mode_copy_of.sel(mode=name).item()) or None,
                "escape_loss": float(result.escape_loss.sel(mode=name)),
            }
            for name in _names(result)
        ],
        "saddles": [
            {"modes": list(pair), **{kind: _saddle(result, f"saddle_{kind}", pair) for kind in kinds}}
            for pair in _pairs(result)
        ],
        "levels": [
            {"loss": float(level), "components": _held(result.sel(level=level))} for level in result.level.values
        ],
        "seconds": _number(result.get("seconds_evaluate")),
        "written": written,
    }


def _saddle(result: xr.Dataset, name: str, pair: tuple[str, str]) -> dict[str, Any]:
    where = {"mode": pair[0], "other": pair[1]}
    return {"value": float(result[name].sel(where)), "ci": result[f"{name}_ci"].sel(where).values.tolist()}


def _with_interval(result: xr.Dataset, name: str, pair: tuple[str, str]) -> str:
    found = _saddle(result, name, pair)
    return f"{found['value']:.3f} [{found['ci'][0]:.3f}, {found['ci'][1]:.3f}]"


def _pairs(result: xr.Dataset) -> list[tuple[str, str]]:
    return list(itertools.combinations(_names(result), 2))


def _names(result: xr.Dataset) -> list[str]:
    return [str(name) for name in result.mode.values]


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return None if math.isnan(number) else number


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
