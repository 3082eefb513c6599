"""A sweep file: what is swept, in TOML. It is data only, and each of its words is checked before any work."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lmc._errors import UsageError, did_you_mean
from lmc._reference import Reference

UNIVERSE = "universe"
"""Name of the alignment of every checkpoint into one common order, see the table ``[universe]``."""


@dataclass(frozen=True)
class CheckpointSettings:
    """Which checkpoints, and where their coordinates stand.

    Parameters
    ----------
    paths : tuple of str
        Globs, relative to the sweep file.
    name : str, optional
        Pattern of the end of each path, ``width{width}/seed{seed}.pt``: what stands in braces becomes a coordinate.
    metadata : mapping of str to str
        Coordinate to its dotted place in the checkpoint's metadata (``lmc.training.seed``, ``recorded.epoch``).
    entry, map : str, optional
        As ``--entry`` and ``--map`` of ``lmc barrier``.
    """

    paths: tuple[str, ...] = ()
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    entry: str | None = None
    map: str | None = None


@dataclass(frozen=True)
class PairSettings:
    """Which pairs of them; all where nothing is said.

    Parameters
    ----------
    within : tuple of str
        Coordinates in which both ends agree.
    across : tuple of str
        Coordinates in which they differ; all others agree, or with ``within`` those it names.
    reference : str, optional
        Name of a checkpoint: only pairs with it.
    sample : int, optional
        So many pairs, drawn at random, in place of every one.
    seed : int
        Of that draw.
    """

    within: tuple[str, ...] = ()
    across: tuple[str, ...] = ()
    reference: str | None = None
    sample: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured of each pair, as the options of ``lmc barrier``.

    Parameters
    ----------
    align : tuple of str
        Alignments, a unit of work each.
    data, split, data_dir, model, spec, points, align_data, recalibrate, repair, loss, also, confidence, seed, device,
    dtype
        As in ``lmc barrier``.
    keep_examples : bool
        Keep the values of single examples in the files of the units, which are then results that ``lmc plot`` takes.
    """

    align: tuple[str, ...] = ("none", "weights")
    data: str | None = None
    split: str = "test"
    data_dir: str | None = None
    model: str | None = None
    spec: str | None = None
    points: int = 25
    align_data: str | None = None
    recalibrate: bool = False
    repair: bool = False
    loss: str | None = None
    also: tuple[str, ...] = ()
    confidence: float = 0.95
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    keep_examples: bool = False


@dataclass(frozen=True)
class UniverseSettings:
    """How all checkpoints of one network are brought into one order: n alignments serve all pairs.

    Parameters
    ----------
    method : {"pivot", "merge-many", "cycle-consistent"}
        As in :func:`lmc.align_many`.
    base : str, optional
        How two of them are aligned.
    """

    method: str = "pivot"
    base: str | None = None


@dataclass(frozen=True)
class ExecutionSettings:
    """Where it runs; options of the command line come before these.

    Parameters
    ----------
    workers : int, optional
        Processes; the number of cores by default.
    threads : int, optional
        Threads of each; the cores are shared out by default.
    max_memory : str, optional
        Of all workers on this machine together (``8G``).
    """

    workers: int | None = None
    threads: int | None = None
    max_memory: str | None = None


@dataclass(frozen=True)
class SweepSettings:
    """A whole sweep file.

    Parameters
    ----------
    checkpoints, pairs, measure, universe, execution
        Its tables.
    cluster : mapping
        ``kind``, and what is passed on to the cluster's own class, unchecked here.
    root : str
        Folder of the file, which relative paths start from.
    """

    checkpoints: CheckpointSettings = CheckpointSettings()
    pairs: PairSettings = PairSettings()
    measure: MeasureSettings = MeasureSettings()
    universe: UniverseSettings = UniverseSettings()
    execution: ExecutionSettings = ExecutionSettings()
    cluster: Mapping[str, Any] = field(default_factory=dict)
    root: str = "."


def read_sweep(path: str | os.PathLike[str]) -> SweepSettings:
    """Read a sweep file.

    Parameters
    ----------
    path : path-like
        TOML with the tables of :class:`SweepSettings`.

    Returns
    -------
    SweepSettings

    Raises
    ------
    UsageError
        If it cannot be read, has an unknown or wrong entry, or names code to be imported and does not lie in the
        working folder: a sweep file of somebody else's folder runs nothing.
    """
    file = Path(path)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} cannot be read as a sweep file (TOML): {error}.") from error
    found = parse_sweep(table, str(file), root=str(file.parent))
    _check_code(found, file)
    return found


def parse_sweep(table: Mapping[str, Any], where: str = "the sweep", *, root: str = ".") -> SweepSettings:
    """Read the tables of a sweep, as TOML or JSON gives them; see :func:`read_sweep`."""
    _check_known(table, [f.name for f in dataclasses.fields(SweepSettings) if f.name != "root"], where, "")
    kinds = typing.get_type_hints(SweepSettings)
    parts: dict[str, Any] = {
        name: dict(value) if name == "cluster" else _read_table(kinds[name], value, f"{where}, [{name}]")
        for name, value in table.items()
        if _is_table(name, value, where)
    }
    found = SweepSettings(**parts, root=root)
    if not found.checkpoints.paths:
        raise UsageError(f'{where} names no checkpoints. Write [checkpoints] and paths = ["runs/*.safetensors"] in it.')
    if not found.measure.align:
        raise UsageError(f'{where}: [measure] align is empty; "none" measures the plain path.')
    return found


def _is_table(name: str, value: Any, where: str) -> bool:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {name} is a table; write [{name}] on a line of its own.")
    return True


def _check_known(table: Mapping[str, Any], known: list[str], where: str, what: str) -> None:
    for name in table:
        if name not in known:
            raise UsageError(
                f"{where} has no {what or 'table'} {name!r}.{did_you_mean(name, known)} {', '.join(known)}."
            )


def _read_table(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    _check_known(table, list(hints), where, "entry")
    return kind(**{name: _read_value(hints[name], value, f"{where} {name}") for name, value in table.items()})


def _read_value(hint: Any, value: Any, where: str) -> Any:
    """Return a value of the type that an entry has; a single text stands for a list of one."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    origin = typing.get_origin(hint)
    if origin is Literal:
        known = typing.get_args(hint)
        if value in known:
            return value
        raise UsageError(f"{where} is {value!r}.{did_you_mean(str(value), known)} Known: {', '.join(known)}.")
    if origin is tuple:
        given = [value] if isinstance(value, str) else value
        if isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in given):
            return tuple(given)
    elif origin is not None:
        if isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values()):
            return dict(value)
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif type(value) is hint:
        return value
    wanted = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "texts")
    raise UsageError(f"{where} is {value!r}: write {wanted}.")


def _check_code(settings: SweepSettings, file: Path) -> None:
    """Code of the user's own is imported only for a sweep file of the folder that the user stands in."""
    code = [name for name in _import_paths(settings.measure) if name is not None]
    if code and file.resolve().parent != Path.cwd().resolve():
        raise UsageError(
            f"{file} names code to be imported ({', '.join(code)}) and lies in another folder. Read it, then run "
            f"lmc sweep in {file.parent}."
        )


def _import_paths(measure: MeasureSettings) -> list[str | None]:
    names = [None if one is None else Reference.parse(one).name for one in (measure.model, measure.data)]
    names += [None if measure.align_data is None else Reference.parse(measure.align_data).name]
    foreign = ("timm:", "torchvision:", "text:")
    found = [name for name in names if name is not None and ":" in name and not name.startswith(foreign)]
    return [*found, measure.loss]
