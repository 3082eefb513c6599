"""Checkpoints by address: ``hf://``, ``https://``, and what installed packages resolve (entry points)."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urldefrag

from lmc._errors import CheckpointError, LmcError, unknown
from lmc._optional import require

GROUP = "lmc.resolvers"
"""Entry point group: name is the scheme, the object takes an address and returns the path of a local file."""

# Path("hf://a/b") drops one of the slashes; a scheme has at least two letters, so that no drive is taken for one.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])")
_CHECKSUM = re.compile(r"(sha256|sha512|md5)[=:]([0-9a-f]{32,128})")


def locate(path: str | os.PathLike[str]) -> Path:
    """Return the local path of a checkpoint, downloading what an address names.

    Parameters
    ----------
    path : path-like
        A path, returned as it is; or an address: ``hf://org/repo[@revision][/file]``,
        ``https://host/file#sha256=HEX``, or one of a scheme that an installed package resolves.

    Raises
    ------
    CheckpointError
        If it cannot be downloaded, or a web address has no checksum.
    UsageError
        For an unknown scheme.
    MissingPackageError
        For ``hf://`` without huggingface_hub.
    """
    text = os.fspath(path)
    found = _ADDRESS.match(text)
    if found is None or Path(text).exists():
        return Path(text)
    address = f"{found[1]}://{text[found.end() :]}"
    resolve = _resolver(found[1])
    try:
        return Path(resolve(address))
    except LmcError:
        raise
    except Exception as error:  # whatever a download, or another package's code, fails with
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise CheckpointError(
            f"{address} could not be fetched ({type(error).__name__}: {reason[:200]}).\n"
            "  Check the address and the network, or download the file and name it."
        ) from error


def _resolver(scheme: str) -> Callable[[str], str | os.PathLike[str]]:
    if scheme in _OWN:
        return _OWN[scheme]
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if scheme not in entries:
        raise unknown("address scheme", scheme, (*_OWN, *entries))
    return entries[scheme].load()


def fetch_hub(address: str) -> Path:
    """Fetch a file, or a folder's weights, from the Hugging Face Hub: ``hf://org/repo[@revision][/file]``."""
    hub = require("huggingface_hub", purpose="hf:// addresses", extra="hub")
    organisation, _, rest = address.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    name, _, revision = repository.partition("@")
    if not organisation or not name:
        raise CheckpointError(f"{address} is no address on the Hub: write hf://org/repo[@revision][/file].")
    where = {"repo_id": f"{organisation}/{name}", "revision": revision or None}
    if file:
        return Path(hub.hf_hub_download(filename=file, **where))
    return Path(hub.snapshot_download(allow_patterns=["*.json", "*.safetensors", "*.bin"], **where))


def fetch_web(address: str) -> Path:
    """Fetch a file into the user's cache: ``https://host/file#sha256=HEX``; the checksum says which file is meant."""
    import pooch

    url, fragment = urldefrag(address)
    checksum = _CHECKSUM.fullmatch(fragment)
    if checksum is None:
        raise CheckpointError(
            f"{url} needs a checksum, so that it is the file that is meant: write {url}#sha256=HEX\n"
            "  (sha256sum FILE tells it)."
        )
    folder = Path(pooch.os_cache("lmc")) / "checkpoints"
    known = f"{checksum[1]}:{checksum[2]}"
    name = f"{checksum[2][:16]}-{Path(url).name or 'checkpoint'}"
    return Path(pooch.retrieve(url, known_hash=known, fname=name, path=folder))


_OWN: dict[str, Callable[[str], str | os.PathLike[str]]] = {"hf": fetch_hub, "https": fetch_web}
