"""What a fusion method is given: networks that were proved to correspond, their shares, and the widths to fuse into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lmc._errors import MismatchError, UsageError
from lmc._types import StateDict
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationGroup, PermutationSpec


@dataclass(frozen=True, eq=False)
class Problem:
    """Networks to be fused.

    Parameters
    ----------
    states : tuple of state dict
        Two or more, finite; one where the target has other widths (distillation).
    specs : tuple of PermutationSpec
        One for each; groups correspond by name.
    target : PermutationSpec
        Of the fused network; the first network's own unless other widths were asked for.
    mix : tuple of float
        Share of each network; they sum to one.
    data : AbstractData, optional
        Training examples, for methods that look at them.
    modules : tuple of nn.Module
        The networks, one for each spec, for methods that run them; empty where none were given.
    module : nn.Module, optional
        The network of the target's widths.
    base : state dict, optional
        What all networks were fine-tuned from.
    seed : int
        Of everything drawn that a method does not draw from a seed of its own.
    """

    states: tuple[StateDict, ...]
    specs: tuple[PermutationSpec, ...]
    target: PermutationSpec
    mix: tuple[float, ...]
    data: AbstractData | None = None
    modules: tuple[nn.Module, ...] = ()
    module: nn.Module | None = None
    base: StateDict | None = None
    seed: int = 0

    @property
    def widths(self) -> dict[str, int]:
        """Group name to the number of units of the fused network."""
        return {group.name: group.size for group in self.target.groups}

    @property
    def one_width(self) -> bool:
        """Whether all networks and the target have the same widths."""
        return all(spec.shapes == self.target.shapes for spec in self.specs)


def check_shares(mix: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return shares that sum to one, equal ones by default.

    Raises
    ------
    UsageError
        If there are not as many as networks, one is negative or not finite, or all are zero.
    """
    shares = [1.0] * count if mix is None else [float(share) for share in mix]
    if len(shares) != count:
        raise UsageError(f"{len(shares)} shares (mix) for {count} networks: give one for each.")
    if not all(0 <= share < float("inf") for share in shares) or not sum(shares) > 0:
        raise UsageError(f"Shares (mix) are numbers from 0 up that do not all vanish, not {shares}.")
    return tuple(share / sum(shares) for share in shares)


def check_states(states: Sequence[StateDict], specs: Sequence[PermutationSpec]) -> None:
    """Raise MismatchError for a state dict that is not its spec's, or not finite."""
    for number, (state, spec) in enumerate(zip(states, specs, strict=True), start=1):
        spec.check_state(state)
        broken = [key for key, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
        if broken:
            raise MismatchError(f"Weights of network {number} are NaN or infinite in {', '.join(broken[:4])}.")


def check_correspondence(
    specs: Sequence[PermutationSpec], target: PermutationSpec, *, heads_may_differ: bool = False
) -> None:
    """Prove that networks differ from the target in the number of units alone.

    Parameters
    ----------
    specs, target : PermutationSpec
        The networks', and the fused one's.
    heads_may_differ : bool
        Whether groups inside groups may have other sizes too.

    Raises
    ------
    MismatchError
        If they have other tensors, other groups, groups that lie elsewhere, or differ in a dimension that holds no
        group; groups inside groups (heads) have to be of one size.
    """
    for number, spec in enumerate(specs, start=1):
        if spec.shapes == target.shapes:
            continue
        who = f"Network {number} and the fused one"
        _same(who, "tensors", set(spec.shapes), set(target.shapes))
        _same(who, "permutation groups", {g.name for g in spec.groups}, {g.name for g in target.groups})
        for name, shape in target.shapes.items():
            held = {axis.dim for _, axis in target.axes_of.get(name, ())}
            other = spec.shapes[name]
            stay = [d for d in range(len(shape)) if d not in held]
            if len(other) != len(shape) or any(other[d] != shape[d] for d in stay):
                raise MismatchError(f"{who} differ in {name}: {other} and {shape}, where only numbers of units may.")
        for group in target.groups:
            _check_group(who, group, spec[group.name], heads_may_differ)


def _check_group(who: str, ours: PermutationGroup, theirs: PermutationGroup, heads_may_differ: bool) -> None:
    where, other = ({(axis.param, axis.dim) for axis in group.axes} for group in (ours, theirs))
    if where != other or (ours.blocks != theirs.blocks and not heads_may_differ):
        raise MismatchError(f"{who} are wired differently: group {ours.name!r} does not lie at the same places.")
    nested = bool(ours.over) or any(axis.given for axis in ours.axes)
    if nested and ours.size != theirs.size and not heads_may_differ:
        raise MismatchError(
            f"{who} differ in the size of {ours.name!r} ({theirs.size} and {ours.size}), which lies inside other "
            "groups: those can be fused at one size only."
        )


def _same(who: str, what: str, one: set[str], other: set[str]) -> None:
    odd: Mapping[str, list[str]] = {"first": sorted(one - other), "second": sorted(other - one)}
    if odd["first"] or odd["second"]:
        named = "; ".join(f"only the {end} has {', '.join(names[:4])}" for end, names in odd.items() if names)
        raise MismatchError(f"{who} differ in their {what}: {named}.")
