"""The one verb: ``align(a, b, spec, method)``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lmc._errors import MismatchError, UsageError
from lmc._methods import ALIGNMENTS, load_method
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment
from lmc.alignment.result import AlignmentResult
from lmc.datasets import as_data
from lmc.symmetry import PermutationSpec
from lmc.symmetry.widths import with_widths


def align(
    a: StateDict,
    b: StateDict,
    spec: PermutationSpec,
    *,
    method: str | AbstractAlignment = "weights",
    data: Any = None,
    module: nn.Module | None = None,
    module_b: nn.Module | None = None,
) -> AlignmentResult:
    """Find the permutation of B's units that aligns B to A; between other widths, the plans that carry B to A's.

    Parameters
    ----------
    a, b : mapping of str to Tensor
        State dicts of one architecture; neither is modified. With ``method="ot"`` the numbers of hidden units may
        differ.
    spec : PermutationSpec
        Its symmetries, from :func:`lmc.find_symmetries`.
    method : str or AbstractAlignment
        How: ``"weights?restarts=4"`` or ``WeightMatching(restarts=4)``.
    data : (x, y), Dataset, DataLoader, iterable of batches, or AbstractData, optional
        Examples, for methods that need them; never those that barriers are reported on.
    module : torch.nn.Module, optional
        The network, for methods that run it; its own weights do not matter, and it is left as it is.
    module_b : torch.nn.Module, optional
        B's network, where its widths are others and the method runs it.

    Returns
    -------
    AlignmentResult
        ``result.apply(b)`` is B aligned; between other widths ``result.apply_soft(b)`` is B in A's shapes.

    Raises
    ------
    MismatchError
        If a state dict is not of the spec's architecture, or holds NaN or infinite weights; where widths
        differ and the method permutes.
    UsageError
        For an unknown method or option, with the nearest known one; where the method needs data or the network and
        there are none.

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
    chosen = load_method(method, ALIGNMENTS, "alignment") if isinstance(method, str) else method
    _check_given(chosen, method, data, module)
    spec.check_state(a)
    source = with_widths(spec, b) or spec
    source.check_state(b)
    for name, state in (("A", a), ("B", b)):
        broken = [key for key, tensor in state.items() if not _finite(tensor)]
        if broken:
            raise MismatchError(f"Weights of {name} are NaN or infinite in {', '.join(broken[:4])}: nothing to align.")
    examples = None if data is None else as_data(data, name="alignment data", split="train")
    if source is not spec:
        return chosen.align_widths(a, b, (spec, source), examples, modules=(module, module_b))
    return chosen.align(a, b, spec, examples, module=module)


def _finite(tensor: Tensor) -> bool:
    """Say whether all numbers are finite: where their sum is, they are, and one pass without a mask tells."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def _check_given(chosen: AbstractAlignment, method: Any, data: Any, module: nn.Module | None) -> None:
    """Refuse, before any work, to leave out what a method cannot do without."""
    missing = [name for name, given in (("data", data), ("module", module)) if given is None]
    missing = [name for name in missing if name in {"none": (), "module": ("module",)}.get(chosen.needs, missing)]
    if missing:
        wanted = " and ".join(f"{name}=" for name in missing)
        raise UsageError(f"Alignment {method!r} runs the network on examples: pass {wanted} to align.")
