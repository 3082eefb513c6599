"""Long work on disk while it is done: the folder of parts beside an output, taken up again with ``--resume``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmc._errors import LmcError, SchemaError
from lmc.cli.common import Printing, free_name

if TYPE_CHECKING:
    import xarray as xr

    from lmc.units import Unit, WorkFolder


def parts_of(output: Path) -> Path:
    """Return the folder that holds the parts of an output until it is complete: ``out.nc.parts``."""
    return output.with_name(f"{output.name}.parts")


def choose_output(stem: str, suffix: str, resume: bool) -> Path:
    """Return the output of a run that names none: with ``resume`` the newest one that was begun, else a free name."""
    from lmc.units import WorkFolder

    begun = [folder for folder in Path().glob(f"{stem}*{suffix}.parts") if folder.is_dir()]
    if resume and begun:
        newest = max(begun, key=lambda folder: folder.stat().st_mtime)
        return newest.with_suffix("")
    busy = {folder.name.removesuffix(".parts") for folder in begun if WorkFolder(folder).busy}
    return free_name(stem, suffix, taken=busy)


@contextmanager
def kept_parts(output: Path, resume: bool, notes: Printing) -> Iterator[WorkFolder]:
    """Yield the folder of parts; it is removed when the block succeeds, and told of when it does not.

    Raises
    ------
    UsageError
        If another process works on the output and its work is not to be shared.
    """
    from lmc.units import WorkFolder, terminable

    path = parts_of(output)
    done = len(list(path.glob("*.nc"))) if path.is_dir() else 0
    folder = WorkFolder(path, tell=lambda text: notes.note("resume", text)).open(fresh=not resume)
    if done:
        what = "are taken up" if resume else "were removed; --resume would have gone on with them"
        notes.note("resume", f"{done} parts of an earlier run in {path} {what}")
    try:
        with terminable():
            yield folder
    except (KeyboardInterrupt, LmcError) as error:
        kept = path.is_dir() and any(path.glob("*.nc"))
        folder.close(remove=not kept)
        if isinstance(error, KeyboardInterrupt) and kept:
            raise type(error)(f"what was measured is in {path}; the same command with --resume goes on") from None
        raise
    except BaseException:
        folder.close()
        raise
    folder.close(remove=True)


def finished(output: Path, unit: Unit, notes: Printing) -> xr.Dataset | None:
    """Return the result that is there already, if it is whole and of just this work."""
    from lmc import schema
    from lmc.units import is_result_of

    if not output.exists():
        return None
    try:
        found = schema.read(output)
    except SchemaError as error:
        notes.note("resume", f"{error}; it is made anew")
        return None
    return found if is_result_of(found, unit) else None


def write_result(result: xr.Dataset, unit: Unit, output: Path, folder: WorkFolder) -> xr.Dataset:
    """Write a result whole: first among the parts, so that nothing half written is ever left beside the output."""
    from lmc import schema
    from lmc.units import stamped

    result = stamped(result, unit)
    within = schema.write(result, folder.path / output.name)
    within.replace(output)
    return result
