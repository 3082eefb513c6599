"""``lmc instability RECIPE``: children of one parent."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from lmc._errors import UsageError
from lmc.cli.common import ALIGNMENT, MEASURED, WRITTEN, Printing, check_writable
from lmc.cli.resuming import choose_output, kept_parts

if TYPE_CHECKING:
    import xarray as xr

_KEYS = ("model", "data", "test", "training")


def instability(
    recipe: Path,
    /,
    *,
    branch_steps: Annotated[str, Parameter(group=MEASURED)],
    children: Annotated[int, Parameter(group=MEASURED)] = 2,
    seeds: Annotated[str, Parameter(group=MEASURED)] = "0,1,2",
    tolerance: Annotated[float, Parameter(group=MEASURED)] = 0.02,
    points: Annotated[int, Parameter(group=MEASURED)] = 11,
    recalibrate: Annotated[bool, Parameter(negative="", group=MEASURED)] = False,
    align: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, group=ALIGNMENT)] = None,
    output: Annotated[Path | None, Parameter(alias="-o", group=WRITTEN)] = None,
    resume: Annotated[bool, Parameter(negative="", group=WRITTEN)] = False,
    data_dir: Path | None = None,
    threads: int | None = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Train children of one parent, and measure from which step on they stay linearly connected.

    Siblings share a parent's first steps, then each sees the examples in an order of its own (Frankle and others). A
    recipe is a TOML file:

        model = "mlp?width=256&depth=2"
        data = "mnist?limit=8000"
        test = "mnist?limit=2000"

        [training]
        epochs = 10
        lr = 0.05
        optimizer = "sgd"

    For example:

        lmc instability run.toml --branch-steps 0,100,500

    Parameters
    ----------
    recipe
        TOML file: model, data, test (the same data's test split by default) and the options of lmc train.
    branch_steps
        Steps that siblings share, with commas between them.
    children
        Siblings at each of these steps.
    seeds
        Parents, with commas between them.
    tolerance
        Error barrier under which siblings count as connected.
    points
        Positions along each path.
    recalibrate
        Reset BatchNorm statistics on training data at every position.
    align
        Alignments of siblings, a row each; none by default.
    output
        NetCDF file to write; instability.nc, or the next free number, by default.
    resume
        Take up the parents that an interrupted run has finished.
    data_dir
        Folder of datasets; else LMC_DATA_DIR, then the cache, then a download.
    threads
        Threads to compute with; all cores by default.
    """
    import torch

    from lmc import schema
    from lmc.conjectures import instability as measure
    from lmc.conjectures import stable_from
    from lmc.datasets import open_data

    if threads is not None:
        torch.set_num_threads(threads)
    given = read_recipe(recipe)
    output = output or choose_output("instability", ".nc", resume)
    check_writable(output, ".nc", [recipe])
    train = open_data(given["data"], "train", data_dir)
    test = open_data(given.get("test", given["data"]), "test", data_dir)
    printing.note("recipe", f"{given['model']} on {given['data']}")
    with kept_parts(output, resume, printing) as folder:
        result = measure(
            given["model"],
            train,
            test,
            branch_steps=read_numbers("branch-steps", branch_steps),
            training=given.get("training", {}),
            children=children,
            seeds=read_numbers("seeds", seeds),
            align=align or ["none"],
            recalibrate=recalibrate,
            points=points,
            work=folder,
            attrs={"command": shlex.join(["lmc", *sys.argv[1:]]), "recipe": recipe.read_text(encoding="utf-8")},
            say=lambda text: printing.note("", text),
        )
        schema.write(result, output)
    stable = {str(name): stable_from(result, tolerance, str(name)) for name in result.alignment.values}
    if printing.json:
        print(json.dumps({"stable_from": stable, "barriers": as_rows(result), "output": str(output)}))
        return
    print("\n".join(["", *table(result), ""]))
    for name, step in stable.items():
        what = "at none of these steps" if step is None else f"from step {step} on"
        print(f"{'verdict':<10}{name}: mean error barrier under {100 * tolerance:g}% {what}")
    print(f"wrote {output} (xarray.open_dataset)")


def read_recipe(path: Path) -> dict[str, Any]:
    """Return a training recipe, or say what is wrong with it."""
    import tomllib

    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML file: {error}.") from error
    for name in given:
        if name not in _KEYS:
            raise UsageError(f"{path}: no such key {name!r}; a recipe has {', '.join(_KEYS)}.")
    for name in ("model", "data"):
        if not isinstance(given.get(name), str):
            raise UsageError(f'{path}: {name} is missing. Write {name} = "{"mlp" if name == "model" else "mnist"}".')
    if not isinstance(given.get("test", ""), str) or not isinstance(given.get("training", {}), dict):
        raise UsageError(f"{path}: test is a text, training a table of the options of lmc train.")
    return given


def read_numbers(option: str, text: str) -> list[int]:
    """Return whole numbers with commas between them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--{option} {text!r}: write whole numbers with commas between them, 0,100,500.") from None


def as_rows(result: xr.Dataset) -> list[dict[str, Any]]:
    """Return the mean and the greatest error barrier, over pairs, of every branch step and alignment."""
    rows = []
    for name in result.alignment.values:
        grouped = result.error_barrier.sel(baseline="mean", alignment=name).groupby("branch_step")
        for step, mean, most in zip(grouped.mean().branch_step.values, grouped.mean(), grouped.max(), strict=True):
            rows.append({"alignment": str(name), "branch_step": int(step), "mean": float(mean), "max": float(most)})
    return rows


def table(result: xr.Dataset) -> list[str]:
    """Return a line for each branch step and alignment."""
    rows = as_rows(result)
    wide = max(len(row["alignment"]) for row in rows)
    return [
        f"{'alignment':<{max(wide, 9)}}  shared steps  error barrier, mean and most over pairs",
        *(
            f"{row['alignment']:<{max(wide, 9)}}  {row['branch_step']:<12}  "
            f"{100 * row['mean']:.2f}%  {100 * row['max']:.2f}%"
            for row in rows
        ),
    ]
