"""A folder of units: each file whole or absent, checked when it is read, made by one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from lmc import schema
from lmc._files import replacing
from lmc.units.claims import Claim, refuse_busy, wait_for
from lmc.units.classic import read_classic, write_classic
from lmc.units.unit import Unit

Compute = Callable[[], xr.Dataset]
Tell = Callable[[str], object]
State = Literal["computed", "found", "busy", "failed before"]
"""What became of a unit that was asked for."""

_PAUSE = 0.1
_IDENTITY, _CONTENT = "lmc_unit", "lmc_unit_content"


class WorkFolder:
    """Units of work on disk, shared by all processes that work in the folder.

    A unit whose file is valid is read, never computed again; a damaged file is computed again, and that is told. A
    unit is computed by one process at a time, the others meanwhile do what nobody else does. A failure leaves its
    traceback beside the units (``*.failed.txt``) and is tried again the next time.

    Parameters
    ----------
    path : path-like
        The folder; made when the first unit is written.
    tell : callable, optional
        Takes one sentence for the user.
    light : bool
        Write classic netCDF: a fraction of the time and space of netCDF4 for small results, nothing compressed.
    """

    def __init__(self, path: str | os.PathLike[str], tell: Tell | None = None, *, light: bool = False) -> None:
        self.path = Path(path)
        self.light = light
        self._tell: Tell = tell or (lambda text: None)
        self._presence = Claim(self.path / ".in-use")

    @classmethod
    def of(cls, given: WorkFolder | str | os.PathLike[str] | None) -> WorkFolder | None:
        """Return the folder that a path means; what is one already, and None, as it is."""
        return given if given is None or isinstance(given, WorkFolder) else cls(given)

    def open(self, *, fresh: bool = False) -> WorkFolder:
        """Take part in the folder's work; until :meth:`close` nobody else may empty or remove it.

        Parameters
        ----------
        fresh : bool
            Empty the folder first.

        Raises
        ------
        UsageError
            If the folder is to be emptied and another process works in it.
        """
        if fresh and self.path.exists():
            if not self._presence.take():
                raise refuse_busy(self.path)
            self._empty()
        elif self.path.exists() and self._presence.take():
            self._tidy()
        if not wait_for(lambda: self._presence.take(shared=True), seconds=_PAUSE, patience=60):
            raise refuse_busy(self.path)
        return self

    def close(self, *, remove: bool = False) -> None:
        """Leave the folder; ``remove`` deletes it unless another process works in it, which will then do so."""
        if remove and wait_for(self._presence.take, seconds=_PAUSE, patience=5 * _PAUSE):
            shutil.rmtree(self.path, ignore_errors=True)
        self._presence.release()

    @property
    def busy(self) -> bool:
        """Whether a process works in the folder now."""
        if not self.path.exists():
            return False
        probe = Claim(self._presence.path)
        free = probe.take()
        probe.release()
        return not free

    def read(self, unit: Unit, *, quietly: bool = False) -> xr.Dataset | None:
        """Return a unit's result, None where there is none or its file is damaged; the latter is told."""
        file = self.path / unit.filename
        if not file.exists():
            return None
        try:
            found = read_classic(file)
            found = xr.load_dataset(file, engine="netcdf4") if found is None else found
            sound = is_result_of(found, unit)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError):  # whatever damage makes of it
            sound, found = False, None
        if sound:
            return found
        if not quietly:
            self._tell(f"{file} is damaged; its part is computed again")
        return None

    def write(self, unit: Unit, result: xr.Dataset) -> xr.Dataset:
        """Store a unit's result, whole or not at all; returns what :meth:`read` will."""
        if "lmc_kind" in result.attrs:
            schema.validate(result)
        result = stamped(result, unit)
        with replacing(self.path / unit.filename) as partial:
            if self.light:
                write_classic(result, partial)
            else:
                result.to_netcdf(partial, engine="netcdf4", format="NETCDF4")
        return result

    def run(self, work: Sequence[tuple[Unit, Compute]]) -> list[xr.Dataset]:
        """Return the results of units in order: read where they are there, else computed, by whichever process.

        Parameters
        ----------
        work : pairs of Unit and callable
            What computes each unit's dataset.

        Raises
        ------
        Exception
            Whatever a computation raises, with its traceback in a file beside the units.
        """
        results: dict[str, xr.Dataset] = {}
        while len(results) < len({unit.digest for unit, _ in work}):
            before = len(results)
            for unit, compute in work:
                if unit.digest not in results and (found := self._attempt(unit, compute)[1]) is not None:
                    results[unit.digest] = found
            if len(results) == before:
                time.sleep(_PAUSE)  # all that is left is being computed by others
        return [results[unit.digest] for unit, _ in work]

    def attempt(self, unit: Unit, compute: Compute, *, retry: bool = True) -> State:
        """Do one unit, unless it is done or another process is at it, and say which it was.

        Parameters
        ----------
        unit, compute
            As in :meth:`run`.
        retry : bool
            Whether a unit that failed before is tried again.

        Returns
        -------
        {"computed", "found", "busy", "failed before"}

        Raises
        ------
        Exception
            As :meth:`run`.
        """
        if not retry and self._failed(unit).exists() and not (self.path / unit.filename).exists():
            return "failed before"
        return self._attempt(unit, compute)[0]

    def failure(self, unit: Unit) -> str:
        """Return the traceback of a unit that failed when it was last tried, else an empty text."""
        try:
            return self._failed(unit).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def failures(self) -> dict[str, str]:
        """Return the tracebacks of units that failed when they were last tried, by file name of the unit."""
        found = sorted(self.path.glob("*.failed.txt"))
        return {file.name.removesuffix(".failed.txt") + ".nc": file.read_text() for file in found}

    def fail(self, unit: Unit, text: str) -> None:
        """Leave the traceback of a failure beside the units, where the disk takes it."""
        with contextlib.suppress(OSError), replacing(self._failed(unit)) as partial:
            partial.write_text(f"{json.dumps(unit.about, indent=1)}\n\n{text}", encoding="utf-8")

    def _failed(self, unit: Unit) -> Path:
        return self.path / f"{Path(unit.filename).stem}.failed.txt"

    def _attempt(self, unit: Unit, compute: Compute) -> tuple[State, xr.Dataset | None]:
        """Read or compute a unit; nothing where another process is at it."""
        if (self.path / unit.filename).exists() and (found := self.read(unit)) is not None:
            return "found", found
        claim = Claim(self.path / f".{unit.filename}.claim")
        if not claim.take():
            return "busy", None
        try:
            # Another process may have finished it since; a damaged file has been told of already.
            found = self.read(unit, quietly=True)
            return ("computed", self._compute(unit, compute)) if found is None else ("found", found)
        finally:
            claim.release(remove=True)

    def _compute(self, unit: Unit, compute: Compute) -> xr.Dataset:
        try:
            stored = self.write(unit, compute())
        except Exception:
            self.fail(unit, traceback.format_exc())
            raise
        self._failed(unit).unlink(missing_ok=True)
        return stored

    def _tidy(self) -> None:
        """Remove what killed processes left half written; only while no other process works here, for certain."""
        probe = Claim(self._presence.path)
        if probe.take():  # no locks on this file system: the lock that we hold says nothing of others
            probe.release()
            return
        for file in (*self.path.glob(".*.partial"), *self.path.glob(".*.claim")):
            file.unlink(missing_ok=True)

    def _empty(self) -> None:
        for file in self.path.iterdir():
            if file != self._presence.path:
                file.unlink() if not file.is_dir() else shutil.rmtree(file)


def stamped(result: xr.Dataset, unit: Unit) -> xr.Dataset:
    """Return the result with the digests of its unit and of its own content among its attributes."""
    named = result.assign_attrs({_IDENTITY: unit.digest, "lmc_unit_about": unit.text})
    return named.assign_attrs({_CONTENT: content_digest(named)})


def is_result_of(result: xr.Dataset, unit: Unit) -> bool:
    """Say whether a result is that of the unit, and whole."""
    attrs = result.attrs
    return attrs.get(_IDENTITY) == unit.digest and attrs.get(_CONTENT) == content_digest(result)


def content_digest(dataset: xr.Dataset) -> str:
    """Return a SHA-256 of the values, names and attributes of a dataset, so that damage does not pass for numbers."""
    running = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        running.update(f"{name} {variable.dims} {variable.shape} {_attrs(variable.attrs)}".encode())
        if variable.dtype.kind in "OUS":
            running.update(json.dumps([str(text) for text in variable.values.ravel().tolist()]).encode())
        else:
            running.update(f"{variable.dtype.str}".encode() + np.ascontiguousarray(variable.values).tobytes())
    running.update(_attrs({key: value for key, value in dataset.attrs.items() if key != _CONTENT}).encode())
    return running.hexdigest()


def _attrs(attrs: Mapping[Any, Any]) -> str:
    # netCDF gives an array of one number back as that number
    return json.dumps({str(key): str(np.atleast_1d(value).tolist()) for key, value in attrs.items()}, sort_keys=True)
