"""From a module to its permutation spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lmc._errors import SymmetryError
from lmc.symmetry.axes import Leaf, Term, freeze, leaves, resolve
from lmc.symmetry.export import Exported, Input, export, overlapping
from lmc.symmetry.kinds import name_kinds
from lmc.symmetry.places import places, settle, slots
from lmc.symmetry.rules import RULES
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec
from lmc.symmetry.walk import Rule, Trace, Value, Walk, constant
from lmc.symmetry.wreath import outer_axes


def find_symmetries(
    model: nn.Module, example_inputs: Sequence[Any] | Tensor, example_kwargs: Mapping[str, Any] | None = None
) -> PermutationSpec:
    """Find every permutation of units that an architecture allows.

    The module is exported, every tensor dimension gets an axis, and the graph is walked once: ops unify the axes that
    have to be permuted together and freeze those that cannot be. What is left free are the groups.

    Parameters
    ----------
    model : torch.nn.Module
        Any architecture; left as it is. The values of its weights are not looked at.
    example_inputs : sequence or Tensor
        Positional inputs of ``forward``, batch first; shapes matter, numbers do not.
    example_kwargs : mapping, optional
        Keyword inputs.

    Returns
    -------
    PermutationSpec
        Groups in the order of the forward pass, and for every frozen dimension the reason.

    Raises
    ------
    SymmetryError
        If the module cannot be traced, or its graph not be followed.

    Examples
    --------
    >>> import torch
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> [(group.name, group.size) for group in find_symmetries(mlp, torch.zeros(1, 4)).groups]
    [('0', 8)]
    """
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    exported = export(model, inputs, example_kwargs)
    try:
        tensors, found = trace(exported)
    except Exception as error:  # a graph that no walk was written for: data-dependent shapes, say
        raise SymmetryError(
            f"The graph of {type(model).__name__} could not be followed: {type(error).__name__}: {str(error)[:300]}. "
            "What needs no symmetries works: alignment 'none'."
        ) from error
    return spec_of(model, exported, tensors, found)


def trace(exported: Exported, rules: Mapping[str, Rule] | None = None) -> tuple[dict[str, Value], Trace]:
    """Walk the graph until no op takes an axis apart that an earlier walk did not know of; return the last walk.

    Returns
    -------
    tuple
        The axes of every tensor of the state dict, under its first name, and what the walk left behind.
    """
    apart: frozenset[tuple[int, int]] = frozenset()
    while True:
        tensors, trace = _walk(exported, Walk(RULES if rules is None else rules, apart))
        if trace.taken_apart <= apart:
            return tensors, trace
        apart |= trace.taken_apart


def _walk(exported: Exported, walk: Walk) -> tuple[dict[str, Value], Trace]:
    used = {exported.aliases.get(one.name, one.name) for one in exported.inputs if one.used}
    tensors: dict[str, Value] = {}
    values = []
    for one in exported.inputs:
        if one.kind != "state":
            values.append(_outside(one))
            continue
        name = exported.aliases.get(one.name, one.name)
        if name not in tensors:
            tensors[name] = _held(one, name in used)
        values.append(tensors[name])
    for value in tree_leaves(walk.run(exported.graph_module, values)):
        if isinstance(value, Value):
            _freeze_output(value)
    return tensors, walk.trace


def _freeze_output(value: Value) -> None:
    for held in (value, *value.apart()):
        for axis in held.axes:
            freeze(axis, "output")


def _held(one: Input, used: bool) -> Value:
    reason = None if used else "not used by the forward pass"
    if not one.value.is_floating_point() and not one.value.is_complex():
        reason = "whole numbers"
    return Value(tuple(Leaf(size, reason) for size in one.value.shape))


def _outside(one: Input) -> Any:
    if one.kind == "constant":
        return constant(one.value, f"the constant {one.name!r} varies along this axis")
    if isinstance(one.value, Tensor):
        return Value(tuple(Leaf(size, "input") for size in one.value.shape))
    return one.value


def spec_of(model: nn.Module, exported: Exported, tensors: Mapping[str, Value], trace: Trace) -> PermutationSpec:
    """Return the groups that a walk leaves: free leaves of the axes, named, and the reasons of the frozen ones."""
    held = [one for value in (*trace.values, *tensors.values()) for one in (value, *value.apart())]
    settle([axis for value in held for axis in value.axes])
    _freeze_doubtful(model, exported, tensors, trace)
    first = exported.order()
    order = [*(name for name in first if name in tensors), *(name for name in tensors if name not in first)]
    found: dict[Leaf, list[tuple[str, int]]] = {}
    frozen: dict[tuple[str, int], str] = {}
    for name in order:
        for dim, axis in enumerate(tensors[name].axes):
            for leaf in dict.fromkeys(leaves(axis)):
                if leaf.frozen is None and leaf.size > 1:
                    found.setdefault(leaf, []).append((name, dim))
            reasons = dict.fromkeys(leaf.frozen for leaf in leaves(axis) if leaf.frozen and leaf.size > 1)
            if reasons:
                frozen[name, dim] = "; ".join(map(str, reasons))
    groups = name_kinds(_groups(found, tensors, outer_axes(trace)), exported)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    buffers = frozenset(name for name, _ in model.named_buffers())
    return PermutationSpec(groups, shapes, frozen, exported.aliases, buffers, exported)


def _freeze_doubtful(model: nn.Module, exported: Exported, tensors: Mapping[str, Value], trace: Trace) -> None:
    """Freeze what the graph alone cannot vouch for."""
    matched = {leaf for pairs in trace.pairs for pair in pairs for axis in pair for leaf in leaves(axis)}
    shared = {exported.aliases.get(name, name) for name in overlapping(model)}
    for name, value in tensors.items():
        for axis in value.axes:
            if name in shared:
                freeze(axis, "shares memory with another tensor")
            for branch, _ in places(axis):
                for leaf in branch:
                    if branch.count(leaf) > 1:
                        freeze(leaf, "lies twice in one dimension")
                    elif leaf not in matched:
                        freeze(leaf, "cut away at this input shape, or matched with nothing")


def _groups(
    found: Mapping[Leaf, Sequence[tuple[str, int]]],
    tensors: Mapping[str, Value],
    outer: Mapping[Leaf, tuple[Leaf, ...]],
) -> tuple[PermutationGroup, ...]:
    names = dict(zip(found, _names(list(found.values())), strict=True))
    groups = []
    for leaf in _outer_first(list(found), outer):
        over = outer.get(leaf, ())
        axes = [axis_of(tensors[name], name, dim, leaf, over) for name, dim in found[leaf]]
        if any(axis is None for axis in axes):  # blocks that lie in several dimensions at once: one permutation for all
            over = ()
            axes = [axis_of(tensors[name], name, dim, leaf, over) for name, dim in found[leaf]]
        held = tuple((names.get(o), o.size) for o in over)
        groups.append(PermutationGroup(names[leaf], leaf.size, tuple(a for a in axes if a is not None), held))
    return tuple(groups)


def _outer_first(found: Sequence[Leaf], outer: Mapping[Leaf, tuple[Leaf, ...]]) -> list[Leaf]:
    """Keep the order of the forward pass, but for outer axes that come after what lies inside them."""
    ordered: dict[Leaf, None] = {}

    def add(leaf: Leaf) -> None:
        for o in outer.get(leaf, ()):
            if o in found:
                add(o)
        ordered.setdefault(leaf)

    for leaf in found:
        add(leaf)
    return list(ordered)


def axis_of(value: Value, name: str, dim: int, leaf: Leaf, over: Sequence[Leaf]) -> Axis | None:
    """Return where a leaf lies in one dimension, its blocks told apart there or in one other dimension."""
    axis = value.axes[dim]
    if resolve(axis) is leaf and not over:
        return Axis(name, dim)
    branches = [branch for branch, _ in places(axis) if leaf in branch]
    if all(o in branch for branch in branches for o in over):
        return Axis(name, dim, slots(axis, leaf, over))
    for other, held in enumerate(value.axes):
        if other != dim and all(o in branch for branch, _ in places(held) for o in over):
            return Axis(name, dim, slots(axis, leaf), (other, _owners(held, over)))
    return None


def _owners(axis: Term, over: Sequence[Leaf]) -> NDArray[np.int64]:
    """Return the joint index of the outer leaves at every position of a dimension."""
    owners = np.zeros(axis.size, dtype=np.int64)
    for branch, positions in places(axis):
        index = np.zeros(positions.shape, dtype=np.int64)
        for o in over:
            along = np.arange(o.size).reshape([-1 if leaf is o else 1 for leaf in branch])
            index = index * o.size + along
        owners[positions] = index
    return owners


def _names(places_of_groups: Sequence[Sequence[tuple[str, int]]]) -> list[str]:
    """Name each group after the layer that makes it: the first whose rows it is."""
    names: list[str] = []
    for axes in places_of_groups:
        maker = next((name for name, dim in axes if dim == 0 and name.endswith("weight")), axes[0][0])
        name = maker.removesuffix(".weight")
        count = sum(other == name or other.startswith(f"{name}#") for other in names)
        names.append(name if not count else f"{name}#{count + 1}")
    return names
