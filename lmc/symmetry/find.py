"""From a module to its permutation spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lmc.symmetry.axes import Leaf, freeze, leaves, resolve, settle, slots
from lmc.symmetry.export import Exported, Input, export
from lmc.symmetry.rules import RULES
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec
from lmc.symmetry.walk import Value, constant, walk


def find_symmetries(
    model: nn.Module, example_inputs: Sequence[Any] | Tensor, example_kwargs: Mapping[str, Any] | None = None
) -> PermutationSpec:
    """Find every permutation of units that an architecture allows.

    The module is exported, every tensor dimension gets an axis, and the graph is walked once: ops unify the axes that
    have to be permuted together and freeze those that cannot be. What is left free are the groups.

    Parameters
    ----------
    model : torch.nn.Module
        Any architecture; left as it is. Its weights are not looked at.
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
        If the module cannot be traced.

    Examples
    --------
    >>> import torch
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> [(group.name, group.size) for group in find_symmetries(mlp, torch.zeros(1, 4)).groups]
    [('0', 8)]
    """
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    exported = export(model, inputs, example_kwargs)
    tensors = _trace(exported)
    return _spec(model, exported, tensors)


def _trace(exported: Exported) -> dict[str, Value]:
    """Walk the graph; return the axes of every tensor of the state dict, under its first name."""
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
    outputs = walk(exported.graph_module, values, RULES)
    for value in tree_leaves(outputs):
        if isinstance(value, Value):
            for axis in (*value.axes, *value.each):
                freeze(axis, "output")
    return tensors


def _held(one: Input, used: bool) -> Value:
    if not one.value.is_floating_point() and not one.value.is_complex():
        return constant(one.value) if used else Value(tuple(Leaf(n, "not used") for n in one.value.shape))
    return Value(tuple(Leaf(n, None if used else "not used by the forward pass") for n in one.value.shape))


def _outside(one: Input) -> Any:
    if one.kind == "constant":
        return constant(one.value)
    if isinstance(one.value, Tensor):
        return Value(tuple(Leaf(size, "input") for size in one.value.shape))
    return one.value


def _spec(model: nn.Module, exported: Exported, tensors: Mapping[str, Value]) -> PermutationSpec:
    settle([axis for value in tensors.values() for axis in value.axes])
    order = [name for name in exported.order() if name in tensors]
    found: dict[Leaf, list[Axis]] = {}
    frozen: dict[tuple[str, int], str] = {}
    for name in [*order, *(name for name in tensors if name not in order)]:
        for dim, axis in enumerate(tensors[name].axes):
            for leaf, positions in slots(axis).items():
                if leaf.frozen is None and leaf.size > 1:
                    whole = isinstance(resolve(axis), Leaf)
                    found.setdefault(leaf, []).append(Axis(name, dim, None if whole else positions))
            reasons = dict.fromkeys(leaf.frozen for leaf in leaves(axis) if leaf.frozen and leaf.size > 1)
            if reasons:
                frozen[name, dim] = "; ".join(map(str, reasons))
    names = _names(list(found.values()))
    groups = tuple(
        PermutationGroup(n, leaf.size, tuple(axes)) for n, (leaf, axes) in zip(names, found.items(), strict=True)
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    buffers = frozenset(name for name, _ in model.named_buffers())
    return PermutationSpec(groups, shapes, frozen, exported.aliases, buffers, exported)


def _names(axes_of_groups: Sequence[Sequence[Axis]]) -> list[str]:
    """Name each group after the layer that makes it: the first whose rows it is."""
    names: list[str] = []
    for axes in axes_of_groups:
        maker = next((a for a in axes if a.dim == 0 and a.param.endswith("weight")), axes[0])
        name = maker.param.removesuffix(".weight")
        count = sum(other == name or other.startswith(f"{name}#") for other in names)
        names.append(name if not count else f"{name}#{count + 1}")
    return names
