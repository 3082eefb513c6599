"""The one verb: ``align(a, b, spec, method)``."""

from __future__ import annotations

from typing import Any

import torch

from lmc._errors import MismatchError
from lmc._methods import ALIGNMENTS, load_method
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment
from lmc.alignment.result import AlignmentResult
from lmc.symmetry import PermutationSpec


def align(
    a: StateDict,
    b: StateDict,
    spec: PermutationSpec,
    *,
    method: str | AbstractAlignment = "weights",
    data: Any = None,
) -> AlignmentResult:
    """Find the permutation of B's units that aligns B to A.

    Parameters
    ----------
    a, b : mapping of str to Tensor
        State dicts of one architecture; neither is modified.
    spec : PermutationSpec
        Its symmetries, from :func:`lmc.find_symmetries`.
    method : str or AbstractAlignment
        How: ``"weights?restarts=4"`` or ``WeightMatching(restarts=4)``.
    data : object, optional
        Examples, for methods that need them.

    Returns
    -------
    AlignmentResult
        ``result.apply(b)`` is B aligned.

    Raises
    ------
    MismatchError
        If a state dict is not of the spec's architecture, or holds NaN or infinite weights.
    UsageError
        For an unknown method or option, with the nearest known one.

    Examples
    --------
    >>> import torch
    >>> from lmc import align, find_symmetries
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> spec = find_symmetries(mlp, torch.zeros(1, 4))
    >>> planted = spec.apply(mlp.state_dict(), spec.random(0))
    >>> aligned = align(mlp.state_dict(), planted, spec).apply(planted)
    >>> all(torch.equal(aligned[name], tensor) for name, tensor in mlp.state_dict().items())
    True
    """
    for name, state in (("A", a), ("B", b)):
        spec.check_state(state)
        broken = [key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
        if broken:
            raise MismatchError(f"Weights of {name} are NaN or infinite in {', '.join(broken[:4])}: nothing to align.")
    chosen = load_method(method, ALIGNMENTS, "alignment") if isinstance(method, str) else method
    return chosen.align(a, b, spec, data)
