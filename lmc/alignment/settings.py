"""Checks of what the methods are set to, before any work."""

from __future__ import annotations

from collections.abc import Collection

from lmc._errors import UsageError, unknown


def check_choices(method: str, settings: object, **choices: Collection[str]) -> None:
    """Raise UsageError, with the nearest known one, for a setting that is none of a few words."""
    for name, known in choices.items():
        value = getattr(settings, name)
        if value not in known:
            raise unknown(f"{method}: {name}", value, known)


def check_at_least(method: str, settings: object, **least: int) -> None:
    """Raise UsageError for a setting that is no whole number, or below what the method needs."""
    for name, low in least.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise UsageError(f"{method}: {name} must be a whole number from {low} up, got {value!r}.")
