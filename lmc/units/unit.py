"""What a piece of work is: everything that determines its result, and the name that follows from that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmc._errors import UsageError


@dataclass(frozen=True)
class Unit:
    """A piece of work, told by paths, digests and settings; tensors enter as their :func:`~lmc.units.fingerprint`.

    Parameters
    ----------
    kind : str
        What is made (``evaluation``, ``barrier``), the first part of the file's name.
    about : mapping of str to str, number, bool, None, or lists and mappings of these
        Everything that determines the result, and nothing that does not.

    Raises
    ------
    UsageError
        If a value is none of these.
    """

    kind: str
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "about", json.loads(self.text))
        except (TypeError, ValueError) as error:
            raise UsageError(f"A unit of work is told by strings, numbers and lists of them: {error}.") from error

    @property
    def text(self) -> str:
        """What determines it, as JSON with sorted names; NaN is refused, since it equals nothing."""
        return json.dumps(dict(self.about), sort_keys=True, allow_nan=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of kind and text."""
        return hashlib.sha256(f"{self.kind}\n{self.text}".encode()).hexdigest()

    @property
    def filename(self) -> str:
        """Name of its file in a folder of units."""
        return f"{self.kind}-{self.digest[:32]}.nc"
