"""The checkpoints of a sweep: found by globs, read once, and placed by coordinates."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmc._errors import LmcError, UsageError
from lmc.checkpoints import Checkpoint, load
from lmc.pipeline import short_names
from lmc.sweep.settings import CheckpointSettings

Coordinate = str | int | float


@dataclass(frozen=True)
class Member:
    """A checkpoint of a sweep.

    Parameters
    ----------
    path : str
        Where it lies.
    name : str
        As much of the path as tells it from the others.
    digest : str
        SHA-256 of what lies there, empty where it cannot be read at all.
    coordinates : mapping of str to str or number
        Where it stands in the sweep.
    layout : str
        Digest of names, shapes and recorded architecture: equal for checkpoints of one network.
    error : str
        Why it cannot be used, empty where it can. Its units fail with this.
    size : int
        Bytes of its weights.
    """

    path: str
    name: str
    digest: str
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)
    layout: str = ""
    error: str = ""
    size: int = 0


def find_paths(settings: CheckpointSettings, root: str | os.PathLike[str]) -> list[str]:
    """Return the files and folders that the globs match, sorted, each once.

    Raises
    ------
    UsageError
        If a glob matches nothing.
    """
    found: dict[str, None] = {}
    for pattern in settings.paths:
        start = Path(pattern).expanduser()
        base, rest = (
            (Path(start.anchor), start.relative_to(start.anchor)) if start.is_absolute() else (Path(root), start)
        )
        matched = sorted(str(path.absolute()) for path in base.glob(str(rest)))
        if not matched:
            raise UsageError(f"No checkpoint matches {pattern!r} in {base.resolve()}.")
        found |= dict.fromkeys(matched)
    return list(found)


def read_members(settings: CheckpointSettings, root: str | os.PathLike[str]) -> list[tuple[Member, Checkpoint | None]]:
    """Read every checkpoint once: digest, layout, coordinates. What cannot be read is a member with its error.

    Parameters
    ----------
    settings : CheckpointSettings
        Globs and coordinates.
    root : path-like
        What they are relative to.

    Returns
    -------
    list of (Member, Checkpoint or None)
        In order; a checkpoint is None where it could not be loaded. Its tensors are mapped, not read.

    Raises
    ------
    UsageError
        If a glob matches nothing, or a path or its metadata lack a coordinate.
    """
    paths = find_paths(settings, root)
    pattern = None if settings.name is None else name_pattern(settings.name)
    return [_read(path, name, pattern, settings) for path, name in zip(paths, short_names(paths), strict=True)]


def _read(
    path: str, name: str, pattern: re.Pattern[str] | None, settings: CheckpointSettings
) -> tuple[Member, Checkpoint | None]:
    coordinates = {} if pattern is None else _from_name(path, pattern, str(settings.name))
    try:
        checkpoint = load(path, entry=settings.entry)
    except (LmcError, OSError) as error:
        return Member(path, name, _digest_of_bytes(Path(path)), coordinates, "", str(error)), None
    for key, place in settings.metadata.items():
        coordinates[key] = _from_metadata(checkpoint, key, place)
    size = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.state.values())
    return Member(path, name, checkpoint.digest, coordinates, layout_of(checkpoint), size=size), checkpoint


def name_pattern(text: str) -> re.Pattern[str]:
    """Return the expression for a pattern of names, ``width{width}/seed{seed}.pt``.

    Raises
    ------
    UsageError
        If nothing stands in braces, a name is no word, or stands twice.
    """
    parts = re.split(r"\{(.*?)\}", text)
    names = parts[1::2]
    if not names or not all(name.isidentifier() for name in names) or len(set(names)) < len(names):
        raise UsageError(f"name = {text!r}: write what is a coordinate in braces, each once: run-{{seed}}.pt.")
    pieces = [re.escape(part) if i % 2 == 0 else f"(?P<{part}>[^/]+?)" for i, part in enumerate(parts)]
    return re.compile(rf"(?:^|.*/){''.join(pieces)}$")


def _from_name(path: str, pattern: re.Pattern[str], text: str) -> dict[str, Coordinate]:
    match = pattern.match(Path(path).as_posix())
    if match is None:
        raise UsageError(f"{path} does not end like name = {text!r}, which gives its coordinates.")
    return {key: _typed(value) for key, value in match.groupdict().items()}


def _typed(text: str) -> Coordinate:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _from_metadata(checkpoint: Checkpoint, key: str, place: str) -> Coordinate:
    value: Any = checkpoint.metadata
    for word in place.split("."):
        if not isinstance(value, Mapping) or word not in value:
            known = ", ".join(map(str, value)) if isinstance(value, Mapping) else "nothing further"
            raise UsageError(
                f"{checkpoint.source}: no {place!r} for {key!r} in its metadata; before {word!r}: {known}."
            )
        value = value[word]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"{checkpoint.source}: {place!r} is {value!r:.60}, no number or text that {key!r} could be.")
    return value


def layout_of(checkpoint: Checkpoint) -> str:
    """Return a digest of all that decides which network a checkpoint is of, the values of its weights left out."""
    metadata = checkpoint.metadata
    recorded = metadata.get("lmc", {})
    told = [metadata.get("framework"), metadata.get("config"), metadata.get("trusted graph")]
    told += [recorded.get(key) for key in ("model", "input_shape")] if isinstance(recorded, Mapping) else []
    shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in checkpoint.state.items()]
    return hashlib.sha256(json.dumps([shapes, told], sort_keys=True, default=str).encode()).hexdigest()


def _digest_of_bytes(path: Path) -> str:
    """Return the SHA-256 of a file that no format reads; of a folder, that of names and sizes."""
    try:
        if path.is_dir():
            return hashlib.sha256(repr(_listing(path.rglob("*"))).encode()).hexdigest()
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _listing(files: Iterable[Path]) -> list[tuple[str, int]]:
    return sorted((str(file), file.stat().st_size) for file in files)
