"""Files of named sets: in the folder given, in LMC_DATA_DIR, in the user's cache, or from the network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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
        with _quiet_pooch():
            pooch.retrieve(
                remote.url,
                known_hash=remote.checksum,
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT),  # type: ignore[arg-type]
            )
    except Exception as error:
        reason = f"The download from {remote.url} failed: {_reason(error)}."
        raise missing(relative, data_dir, reason) from error
    return target


@contextlib.contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keep the log lines of pooch off the user's screen, for the time of the block."""
    logger = pooch.get_logger()
    before, logger.disabled = logger.disabled, True  # a level would not do: this logger caches what it lets through
    try:
        yield
    finally:
        logger.disabled = before


def _reason(error: Exception) -> str:
    """Say in a few words why a download failed, without the tale of the layers below."""
    import requests  # what pooch downloads with

    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return "no network connection"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers with status {error.response.status_code}"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "what came is not the published file, its checksum differs"
    return type(error).__name__


def missing(relative: str, data_dir: str | os.PathLike[str] | None, reason: str) -> DatasetError:
    """Return the error for a file that is nowhere."""
    looked = ", ".join(str(folder / relative) for folder in folders(data_dir))
    return DatasetError(
        f"{relative} is missing; looked for {looked}.\n{reason}\n"
        "Put the file there by hand, or name the folder that has it with --data-dir or LMC_DATA_DIR "
        f"(now {os.environ.get('LMC_DATA_DIR') or 'not set'})."
    )
