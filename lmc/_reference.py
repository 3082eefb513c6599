"""References such as ``mlp?width=64`` or ``weights?restarts=4``: a name and options, the same grammar everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmc._errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Reference:
    """A name with options, as typed on the command line.

    Parameters
    ----------
    name : str
        What stands before the question mark.
    options : dict
        What stands behind it, each value read as int, float, bool, None, a tuple of these (commas) or a string.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``name?key=value&key=value``.

        Raises
        ------
        UsageError
            If a part has no key or no equals sign, or a key stands twice.
        """
        name, _, query = text.partition("?")
        # Nothing is decoded as in a URL: 1e+3 is a number, and a path may hold a percent sign.
        parts = [part.partition("=") for part in query.split("&")] if query else []
        if not all(key and equals for key, equals, _ in parts):
            raise UsageError(f"Cannot read the options of {text!r}: write name?key=value&key=value.")
        options = {key: _literal(value) for key, _, value in parts}
        if len(options) != len(parts):
            raise UsageError(f"An option stands twice in {text!r}.")
        return cls(name, options)

    def __str__(self) -> str:
        """Write the reference back as it would be typed."""
        query = "&".join(f"{key}={_text(value)}" for key, value in self.options.items())
        return f"{self.name}?{query}" if query else self.name

    def call(self, function: Callable[..., Any], **defaults: Any) -> Any:
        """Call ``function`` with the options as keywords, refusing those it does not take.

        Parameters
        ----------
        function : callable
            A factory whose keywords are the options.
        **defaults
            Keywords used where the options do not give them and the function takes them.

        Raises
        ------
        UsageError
            For an option the function does not have, with the nearest one it has, or one that it cannot do without.
        """
        taken = inspect.signature(function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            for key in self.options:
                if key not in taken:
                    known = ", ".join(taken) or "none"
                    hint = did_you_mean(key, taken)
                    raise UsageError(f"{self.name!r} has no option {key!r}.{hint} Its options: {known}.")
            defaults = {key: value for key, value in defaults.items() if key in taken}
        given = {**defaults, **self.options}
        self._check_complete(taken, given)
        return function(**given)

    def _check_complete(self, taken: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
        """Refuse to leave out what has no default."""
        missing = [
            name
            for name, p in taken.items()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in given
        ]
        if missing:
            wanted = Reference(self.name, {**self.options, **dict.fromkeys(missing, "...")})
            raise UsageError(
                f"{self.name!r} needs {', '.join(map(repr, missing))}: write '{wanted}'. Where that is more than a "
                "number, a text or several of them, name a function that calls it with what it needs."
            )


def _literal(text: str) -> Any:
    if "," in text:
        return tuple(_literal(part) for part in text.split(",") if part)
    lowered = text.lower()
    if lowered in {"true", "yes", "false", "no"}:
        return lowered in {"true", "yes"}
    if lowered in {"none", "null"}:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(_text, value)) + ("," if len(value) < 2 else "")
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
