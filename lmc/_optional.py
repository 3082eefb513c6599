"""One door for optional packages: asks by purpose, and names the extra that installs it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from lmc._errors import MissingPackageError


def require(module: str, *, purpose: str, extra: str) -> ModuleType:
    """Import an optional package.

    Parameters
    ----------
    module : str
        Import name.
    purpose : str
        What it is needed for, as it ends "The lapx package is required for ...".
    extra : str
        The extra of ``lmc`` that installs it.

    Raises
    ------
    MissingPackageError
        When it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MissingPackageError(
            f"The {package} package is required for {purpose}, and it is not installed ({error}). "
            f"Install it with: pip install 'lmc[{extra}]'"
        ) from error


def available(module: str) -> bool:
    """Say whether an optional package can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
