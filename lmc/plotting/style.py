"""The look of the figures, in force only while one is made."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.style

STYLE = Path(__file__).with_name("lmc.mplstyle")


def house_style() -> AbstractContextManager[None]:
    """Return a context with the style of this package on top of the user's; what it does not name stays theirs."""
    return matplotlib.style.context(STYLE)
