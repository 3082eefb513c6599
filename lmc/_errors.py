"""Named exceptions: each says what, where, both values and the fix, and carries the exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LmcError(Exception):
    """Anything that ``lmc`` itself refuses; the message is meant for the user, no traceback needed."""

    exit_code = 1


class UsageError(LmcError, ValueError):
    """The request makes no sense: an unknown method, option or name."""

    exit_code = 2


class GridError(UsageError):
    """A grid of positions that does not define a barrier."""


class InputError(LmcError, ValueError):
    """The request is fine, what it names is not usable."""

    exit_code = 3


class CheckpointError(InputError):
    """A file that is not a usable checkpoint."""


class ArchitectureError(InputError):
    """No network could be built for the weights, or the one given fails."""


class MismatchError(InputError):
    """Weights do not fit the module, or two checkpoints do not fit each other."""


class DatasetError(InputError):
    """A dataset that is missing, damaged or of another kind than the network needs."""


class SchemaError(InputError):
    """A result dataset that lacks what the schema asks for."""


class MissingPackageError(LmcError, ImportError):
    """An optional package is needed for what was asked."""

    exit_code = 3


class SymmetryError(LmcError):
    """The symmetries that were found do not preserve the network's function, or could not be proved to."""

    exit_code = 4


class IncompleteError(LmcError):
    """Some units of work failed; what they are was told, the others are done."""

    exit_code = 5


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest candidate, or an empty string when nothing is near."""
    near = difflib.get_close_matches(str(name), [str(c) for c in candidates], n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def unknown(kind: str, name: str, candidates: Iterable[str]) -> UsageError:
    """Return the error for an unknown name, with the nearest known one and the whole list."""
    known = sorted(str(c) for c in candidates)
    return UsageError(f"Unknown {kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
