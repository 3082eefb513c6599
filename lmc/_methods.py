"""Method names and where each lives, so that the command line can list methods without importing them."""

from __future__ import annotations

import importlib
from typing import Any

from lmc._errors import UsageError, unknown
from lmc._reference import Reference

ALIGNMENTS = {
    "none": "lmc.alignment.identity:Identity",
    "random": "lmc.alignment.random:RandomPermutation",
    "weights": "lmc.alignment.weight_matching:WeightMatching",
    "ot": "lmc.alignment.optimal_transport:OptimalTransport",
    "gw": "lmc.alignment.gromov_wasserstein:GromovWasserstein",
    "activations": "lmc.alignment.activation_matching:ActivationMatching",
}
"""``--align`` name to ``module:class``."""


def load_method(text: str, table: dict[str, str], kind: str, **defaults: Any) -> Any:
    """Build a method from its reference.

    Parameters
    ----------
    text : str
        ``name?option=value``.
    table : dict
        One of the tables of this file.
    kind : str
        What the table holds, for the error.
    **defaults
        Options used where the text does not give them and the method takes them (``seed``).

    Raises
    ------
    UsageError
        For an unknown name or option, with the nearest known one.
    """
    reference = Reference.parse(text)
    if reference.name not in table:
        raise unknown(kind, reference.name, table)
    module, _, name = table[reference.name].partition(":")
    factory = getattr(importlib.import_module(module), name)
    try:
        return reference.call(factory, **defaults)
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{kind} {text!r}: {error}") from error
