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
_UNPACKED = 256 * 2**20
_RATIO = 20  # weights are next to incompressible, but a file of zeros up to _UNPACKED may be anything


@dataclass(frozen=True)
class Sample:
    """What can be seen without reading a file through, or of a folder: enough to say what it is.

    Parameters
    ----------
    path : pathlib.Path
        The file or folder.
    size : int
        Bytes of a file; 0 for a folder.
    head : bytes
        The first bytes of a file.
    members : tuple of zipfile.ZipInfo
        Of a zip archive that is whole.
    names : tuple of str
        What lies in a folder.
    folder : bool
        Whether it is a folder.
    """

    path: Path
    size: int
    head: bytes
    members: tuple[zipfile.ZipInfo, ...] = ()
    names: tuple[str, ...] = ()
    folder: bool = False

    @property
    def is_zip(self) -> bool:
        """Whether the file begins as a zip archive does; it may be damaged, and then shows no members."""
        return self.head.startswith(_ZIP)

    def member(self, ending: str) -> zipfile.ZipInfo | None:
        """Return the archive's first member whose name ends so."""
        return next((info for info in self.members if info.filename.endswith(ending)), None)

    def read_member(self, info: zipfile.ZipInfo) -> bytes:
        """Read one member of the archive into memory, after its size is checked; nothing is unpacked to disk."""
        check_size(self.path, info.file_size, info.compress_size, f"member {info.filename!r}")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(info)
        except Exception as error:  # a damaged archive may fail in any way
            what = f"is a damaged zip archive ({printable(info.filename)}: {printable(error)})"
            raise refuse(self.path, what, "Download or copy it again.") from error

    def beside(self, name: str) -> Path:
        """Return the path of a file that this one names, in its own folder (in it, for a folder); nowhere else."""
        folder = self.path if self.folder else self.path.parent
        path = folder / name
        if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
            what = f"names a file outside its folder ({printable(name)})"
            raise refuse(self.path, what, "Nothing outside is read. Put the files side by side, under plain names.")
        return path


@dataclass(frozen=True)
class Contents:
    """What a format read: nested mappings with tensors at their leaves, and what it knows about them.

    ``files`` are those that were read, where it is not the one that was named alone.
    """

    tree: Any
    versions: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Format:
    """One format: how to tell it by content, its usual extensions, and how to read it."""

    name: str
    framework: str
    extensions: tuple[str, ...]
    recognises: Callable[[Sample], bool]
    read: Callable[[Sample], Contents]


def take_sample(path: Path) -> Sample:
    """Look at a file without reading it through, or into a folder; an empty file or a device is refused."""
    mode, size, head = _look(path)
    if stat.S_ISDIR(mode):
        return Sample(path, 0, b"", names=_entries(path), folder=True)
    if not stat.S_ISREG(mode):
        raise refuse(path, "is a device or a pipe, not a file", "Copy what it holds to a file first.")
    if size == 0:
        raise refuse(path, "is empty (0 bytes)", "Copy or download it again.")
    return Sample(path, size, head, _members(path) if head.startswith(_ZIP) else ())


def refuse(path: Path, what: str, advice: str) -> CheckpointError:
    """Return the error for a file: its name, what it is or holds, and what to do about it."""
    return CheckpointError(f"{printable(path, 400)} {printable(what, 600)}.\n  {advice}")


def check_size(path: Path, claimed: int, stored: int, part: str) -> None:
    """Refuse what would unpack to far more than it takes on disk, before it is unpacked."""
    if claimed > _UNPACKED and claimed > _RATIO * max(stored, 1):
        what = f"would unpack to {claimed:,} bytes from {stored:,} ({printable(part)}), as a zip bomb does"
        raise refuse(path, what, "If you packed it yourself, unpack it and save the weights uncompressed.")


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


def _entries(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError as error:
        raise refuse(folder, f"is a folder that cannot be listed ({error.strerror})", "Ask its owner.") from error


def _nearest(path: Path) -> str:
    try:
        return did_you_mean(path.name, (entry.name for entry in path.parent.iterdir()))
    except OSError:
        return f" There is no folder {printable(path.parent, 200)} either."
