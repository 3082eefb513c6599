"""The one verb: ``fuse(states, specs, method=...)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lmc._errors import UsageError
from lmc._methods import FUSIONS, load_method
from lmc._types import StateDict
from lmc.datasets import as_data
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem, check_correspondence, check_shares, check_states
from lmc.fusion.result import FusionResult
from lmc.symmetry import PermutationSpec


def fuse(
    states: Sequence[StateDict],
    specs: PermutationSpec | Sequence[PermutationSpec],
    *,
    method: str | AbstractFusion = "wb",
    mix: Sequence[float] | None = None,
    target: PermutationSpec | None = None,
    data: Any = None,
    modules: nn.Module | Sequence[nn.Module] | None = None,
    module: nn.Module | None = None,
    base: StateDict | None = None,
    seed: int = 0,
) -> FusionResult:
    """Make one network of several.

    Parameters
    ----------
    states : sequence of state dict
        The networks; none is modified. Two or more, or one that is distilled into other widths.
    specs : PermutationSpec or sequence of PermutationSpec
        Their symmetries, from :func:`lmc.find_symmetries`: one for all, or one for each where widths differ. Groups
        correspond by name.
    method : str or AbstractFusion
        How: ``"wb?on=activations"`` or ``WassersteinBarycenter(on="activations")``.
    mix : sequence of float, optional
        Share of each network, normalised to sum to one; equal by default.
    target : PermutationSpec, optional
        Symmetries of the network to fuse into, where its widths are others; by default the first network's.
    data : (x, y), Dataset, DataLoader, iterable of batches, or AbstractData, optional
        Training examples, for methods that look at them; never those that results are reported on.
    modules : torch.nn.Module or sequence, optional
        The networks, one for all or one for each, for methods that run them; their own weights do not matter.
    module : torch.nn.Module, optional
        The network of the target's widths, for methods that run it; by default the first of ``modules``.
    base : state dict, optional
        What all networks were fine-tuned from, for methods that need it.
    seed : int
        Of everything drawn that the method has no seed of its own for.

    Returns
    -------
    FusionResult
        ``result.state`` is the fused network.

    Raises
    ------
    MismatchError
        If a state dict is not of its spec's architecture or not finite, or the networks do not correspond.
    UsageError
        For an unknown method or option, with the nearest known one; for shares that make no sense; where the method
        needs data, networks, a base or equal widths, and there are none.

    Examples
    --------
    >>> import torch
    >>> from lmc import find_symmetries, fuse
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> spec = find_symmetries(mlp, torch.zeros(1, 4))
    >>> other = spec.apply(mlp.state_dict(), spec.random(0))
    >>> fused = fuse([mlp.state_dict(), other], spec, method="wb").state
    >>> all(torch.allclose(fused[name], tensor) for name, tensor in mlp.state_dict().items())
    True
    """
    chosen = load_method(method, FUSIONS, "fusion", seed=seed) if isinstance(method, str) else method
    count = len(states)
    specs = (specs,) * count if isinstance(specs, PermutationSpec) else tuple(specs)
    if len(specs) != count:
        raise UsageError(f"{len(specs)} specs for {count} networks: give one for all, or one for each.")
    if not count or (count < 2 and target is None):
        raise UsageError(f"Fusion takes two networks or more, got {count}; one alone needs a target of other widths.")
    target = target or specs[0]
    many = (modules,) * count if isinstance(modules, nn.Module) else tuple(modules or ())
    shares = check_shares(mix, count)
    _check_given(chosen, data, many, base)
    check_states(states, specs)
    if base is not None:
        check_states([base], [target])
    check_correspondence(specs, target, heads_may_differ=chosen.heads_may_differ)
    examples = None if data is None else as_data(data, name="fusion data", split="train")
    problem = Problem(
        tuple(states), specs, target, shares, examples, many, module or (many[0] if many else None), base, seed
    )
    if not problem.one_width and not chosen.widths_may_differ:
        raise UsageError(f"Fusion {chosen.reference!r} takes networks of one width only: use 'wb' or 'ot'.")
    return chosen.fuse(problem)


def _check_given(chosen: AbstractFusion, data: Any, modules: tuple[nn.Module, ...], base: StateDict | None) -> None:
    """Refuse, before any work, to leave out what a method cannot do without."""
    wanted = {"none": (), "module": ("modules",), "data": ("data", "modules")}[chosen.needs]
    given = {"data": data is not None, "modules": bool(modules)}
    missing = [f"{name}=" for name in wanted if not given[name]]
    missing += ["base="] if chosen.needs_base and base is None else []
    if missing:
        raise UsageError(f"Fusion {chosen.reference!r} cannot do without {' and '.join(missing)}: pass it to fuse.")
