"""What a format is, and what it is shown of a file before anyone reads it."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmc._errors import CheckpointError, did_you_mean

HEAD = 4096
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Sample:
    """A file's size, first bytes and, for a zip archive, its members: enough to say what it is."""

    path: Path
    size: int
    head: bytes
    members: tuple[zipfile.ZipInfo, ...] = ()

    @property
    def is_zip(self) -> bool:
        """Whether the file begins as a zip archive does; it may be damaged, and then shows no members."""
        return self.head.startswith(_ZIP)

    def member(self, ending: str) -> zipfile.ZipInfo | None:
        """Return the archive's first member whose name ends so."""
        return next((info for info in self.members if info.filename.endswith(ending)), None)


@dataclass(frozen=True)
class Contents:
    """What a format read: nested mappings with tensors at their leaves, and what it knows about them."""

    tree: Any
    versions: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One format: how to tell it by content, its usual extensions, and how to read it."""

    name: str
    framework: str
    extensions: tuple[str, ...]
    recognises: Callable[[Sample], bool]
    read: Callable[[Sample], Contents]


def take_sample(path: Path) -> Sample:
    """Look at a file without reading it through; whatever is no regular file with bytes in it is refused."""
    mode, size, head = _look(path)
    if stat.S_ISDIR(mode):
        raise refuse(path, "is a folder", f"Name one file in it.{_listing(path)}")
    if not stat.S_ISREG(mode):
        raise refuse(path, "is a device or a pipe, not a file", "Copy what it holds to a file first.")
    if size == 0:
        raise refuse(path, "is empty (0 bytes)", "Copy or download it again.")
    return Sample(path, size, head, _members(path) if head.startswith(_ZIP) else ())


def refuse(path: Path, what: str, advice: str) -> CheckpointError:
    """Return the error for a file: its name, what it is or holds, and what to do about it."""
    return CheckpointError(f"{printable(path, 400)} {printable(what, 600)}.\n  {advice}")


def printable(value: object, length: int = 80) -> str:
    """Return text from a file as one short line: it may hold anything, terminal codes included."""
    text = "".join(c if c.isprintable() else " " for c in str(value))
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _look(path: Path) -> tuple[int, int, bytes]:
    """Return mode, size and first bytes; only a regular file is opened (a pipe would block)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return status.st_mode, 0, b""
        with path.open("rb") as stream:
            return status.st_mode, status.st_size, stream.read(HEAD)
    except FileNotFoundError:
        raise refuse(path, "does not exist", f"Check the path.{_nearest(path)}") from None
    except PermissionError:
        raise refuse(path, "may not be read by this user", "Ask its owner, or change it: chmod u+r.") from None
    except (OSError, ValueError) as error:
        raise refuse(path, f"cannot be opened ({error})", "Check the path.") from error


def _members(path: Path) -> tuple[zipfile.ZipInfo, ...]:
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.infolist())
    except Exception:  # a damaged archive may fail in any way; no members says so
        return ()


def _listing(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return ""
    return f" It holds: {printable(', '.join(names), 200)}" if names else " It holds no file."


def _nearest(path: Path) -> str:
    try:
        return did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))
    except OSError:
        return f" There is no folder {printable(path.parent, 200)} either."
