"""Checks of what the methods are set to, before any work."""

from __future__ import annotations

from lmc._errors import UsageError
from lmc.alignment.base import AbstractAlignment


def check_at_least(method: str, settings: AbstractAlignment, **least: int) -> None:
    """Raise UsageError for a setting that is no whole number, or below what the method needs."""
    for name, low in least.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise UsageError(f"{method}: {name} must be a whole number from {low} up, got {value!r}.")
