"""Files of named sets: in the folder given, in LMC_DATA_DIR, in the user's cache, or from the network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from lmc._errors import DatasetError

TIMEOUT = 10
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class Remote:
    """Where a file can be downloaded, and its checksum (``algorithm:hex``)."""

    url: str
    checksum: str


def folders(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return where files are looked for, in order."""
    named = [data_dir, os.environ.get("LMC_DATA_DIR")]
    return [*(Path(folder).expanduser() for folder in named if folder), Path(pooch.os_cache("lmc"))]


def find(relative: str, data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the first existing file or folder, or None."""
    return next((folder / relative for folder in folders(data_dir) if (folder / relative).exists()), None)


def fetch(relative: str, data_dir: str | os.PathLike[str] | None, remote: Remote) -> Path:
    """Find a file, or download it into the user's cache.

    Raises
    ------
    DatasetError
        If it is nowhere and cannot be downloaded; says where it was looked for and what to do.
    """
    found = find(relative, data_dir)
    if found is not None:
        return found
    target = folders(None)[-1] / relative
    try:
        pooch.retrieve(
            remote.url,
            known_hash=remote.checksum,
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),  # type: ignore[arg-type]
        )
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise missing(relative, data_dir, f"The download from {remote.url} failed ({reason}).") from error
    return target


def missing(relative: str, data_dir: str | os.PathLike[str] | None, reason: str) -> DatasetError:
    """Return the error for a file that is nowhere."""
    looked = ", ".join(str(folder / relative) for folder in folders(data_dir))
    return DatasetError(
        f"{relative} is missing; looked for {looked}.\n{reason}\n"
        "Put the file there by hand, or name the folder that has it with --data-dir or LMC_DATA_DIR "
        f"(now {os.environ.get('LMC_DATA_DIR') or 'not set'})."
    )
