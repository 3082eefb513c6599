"""Method names and where each lives, so that the command line can list methods without importing them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from lmc._errors import UsageError, unknown
from lmc._reference import Reference

ALIGNMENTS = {
    "annealing": "lmc.alignment.annealing:SimulatedAnnealing",
    "frank-wolfe": "lmc.alignment.frank_wolfe:FrankWolfe",
    "none": "lmc.alignment.identity:Identity",
    "random": "lmc.alignment.random:RandomPermutation",
    "sinkhorn": "lmc.alignment.sinkhorn:SinkhornRebasin",
    "ste": "lmc.alignment.ste:StraightThrough",
    "weights": "lmc.alignment.weight_matching:WeightMatching",
    "ot": "lmc.alignment.optimal_transport:OptimalTransport",
    "gw": "lmc.alignment.gromov_wasserstein:GromovWasserstein",
    "activations": "lmc.alignment.activation_matching:ActivationMatching",
    "wb": "lmc.fusion.implied:BarycenterAlignment",
    "gwb": "lmc.fusion.implied_gromov:GromovBarycenterAlignment",
}
"""``--align`` name to ``module:class``."""

FUSIONS = {
    "gwb": "lmc.fusion.gromov_wasserstein_barycenter:GromovWassersteinBarycenter",
    "vanilla": "lmc.fusion.vanilla:VanillaAverage",
    "ot": "lmc.fusion.otfusion:OTFusion",
    "transformer": "lmc.fusion.transformer:TransformerFusion",
    "wb": "lmc.fusion.wasserstein:WassersteinBarycenter",
    "align-then-average": "lmc.fusion.aligned:AlignThenAverage",
    "soup": "lmc.fusion.soup:ModelSoup",
    "fisher": "lmc.fusion.fisher:FisherAverage",
    "regmean": "lmc.fusion.regmean:RegMean",
    "task-arithmetic": "lmc.fusion.task_arithmetic:TaskArithmetic",
    "ties": "lmc.fusion.ties:Ties",
    "ensemble": "lmc.fusion.ensemble:PredictionEnsemble",
}
"""``lmc fuse --method`` name to ``module:class``."""

_COMPOSITION = "lmc.alignment.composition:Composition"


def load_method(text: str, table: dict[str, str], kind: str, **defaults: Any) -> Any:
    """Build a method from its reference.

    Parameters
    ----------
    text : str
        ``name?option=value``; alignments that follow each other are joined by a plus, ``activations+ste``.
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
    # A plus before a letter joins; in 1e+3 it stands before a digit.
    parts = re.split(r"\+(?=[A-Za-z])", text) if table is ALIGNMENTS else [text]
    if len(parts) > 1:
        return _located(_COMPOSITION)(tuple(load_method(part, table, kind, **defaults) for part in parts))
    reference = Reference.parse(text)
    if reference.name not in table:
        raise unknown(kind, reference.name, table)
    factory = _located(table[reference.name])
    try:
        return reference.call(factory, **defaults)
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{kind} {text!r}: {error}") from error


def load_methods(
    asked: Sequence[Any], table: dict[str, str], kind: str, called: Callable[[Any], str], **defaults: Any
) -> dict[str, Any]:
    """Build every method that is given as text, and return all under the names their rows get.

    Parameters
    ----------
    asked : sequence of str or method
        None of them twice.
    table, kind, **defaults
        As in :func:`load_method`.
    called : callable
        What a method that is not given as text is called.

    Raises
    ------
    UsageError
        For an unknown method or option, or one method asked for twice.
    """
    found: dict[str, Any] = {}
    for one in asked:
        name = one if isinstance(one, str) else called(one)
        if name in found:
            raise UsageError(f"{kind.capitalize()} {name!r} is asked for twice.")
        found[name] = load_method(one, table, kind, **defaults) if isinstance(one, str) else one
    return found


def _located(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
