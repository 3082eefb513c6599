"""What a group is in the words of the field: channels, heads, a residual stream. For people; nothing hangs on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import fx

from lmc.symmetry.export import Exported
from lmc.symmetry.spec import PermutationGroup
from lmc.symmetry.walk import op_name

_WEIGHTS = {
    **dict.fromkeys(("linear", "matmul", "mm", "bmm", "conv1d", "conv2d", "conv3d", "convolution"), 1),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1),
    **dict.fromkeys(("addmm", "baddbmm"), 2),
    "embedding": 0,
}
"""Op to the position of the argument that holds its weights."""

_ATTENTION = ("softmax", "scaled_dot_product_attention")


@dataclass(frozen=True)
class Layers:
    """What the graph says of its weights.

    Parameters
    ----------
    convolved : set of str
        Weights of convolutions.
    joined : list of (set of str, set of str)
        For every addition the weights whose outputs reach either side without passing through other weights.
    attends : bool
        Whether there is attention anywhere.
    """

    convolved: Collection[str]
    joined: Sequence[tuple[frozenset[str], frozenset[str]]]
    attends: bool


def name_kinds(groups: Sequence[PermutationGroup], exported: Exported) -> tuple[PermutationGroup, ...]:
    """Return the groups, each with its ``kind``.

    Parameters
    ----------
    groups : sequence of PermutationGroup
        All groups of one network.
    exported : Exported
        Its graph.
    """
    layers = _layers(exported)
    outer = {name for group in groups for name, _ in group.over}
    return tuple(replace(group, kind=_kind(group, group.name in outer, layers)) for group in groups)


def _kind(group: PermutationGroup, is_outer: bool, layers: Layers) -> str:
    params = {axis.param for axis in group.axes}
    convolved = bool(params & set(layers.convolved))
    place = "group" if convolved else "head" if layers.attends else "block"
    if group.over:
        return f"{place}s inside {place}s" if _holds_blocks(group) else f"inside {place}"
    if is_outer:
        return f"{place}s"
    if any(params & left and params & right for left, right in layers.joined):
        return "residual stream"
    return "channels" if convolved else "units"


def _holds_blocks(group: PermutationGroup) -> bool:
    """Say whether each unit of an inner group is itself a run of positions, wherever it lies: query heads are."""
    held = [axis.positions for axis in group.axes if axis.positions is not None]
    return bool(held) and all(one.shape[1] > 1 and (np.diff(one, axis=1) == 1).all() for one in held)


def _layers(exported: Exported) -> Layers:
    weights = _named_weights(exported)
    convolved: set[str] = set()
    joined: list[tuple[frozenset[str], frozenset[str]]] = []
    sources: dict[fx.Node, frozenset[str]] = {}
    attends = False
    for node in exported.graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        op = op_name(node.target).removeprefix("aten.").removesuffix("_")
        attends = attends or op.endswith(_ATTENTION)
        weight = _weight(node, op, weights)
        if weight is not None:
            sources[node] = frozenset([weight])
            if op.startswith("conv"):
                convolved.add(weight)
            continue
        inputs = [sources.get(source, frozenset()) for source in node.all_input_nodes]
        sources[node] = frozenset().union(*inputs)
        if op == "add" and len(inputs) == 2 and all(inputs):
            joined.append((inputs[0], inputs[1]))
    return Layers(convolved, joined, attends)


def _weight(node: fx.Node, op: str, weights: Mapping[fx.Node, str]) -> str | None:
    """Return the name of the tensor that an op contracts with or looks up in, or None."""
    position = _WEIGHTS.get(op)
    if position is None or len(node.args) <= position:
        return None
    return next((weights[one] for one in _back(node.args[position]) if one in weights), None)


def _back(node: object) -> Iterator[fx.Node]:
    """Yield a node and what it is a reordering of."""
    while isinstance(node, fx.Node):
        yield node
        reorders = op_name(node.target) in _REORDERINGS and node.args
        node = node.args[0] if reorders else None


_REORDERINGS = {f"aten.{name}" for name in "t transpose permute view reshape unsqueeze numpy_T mT to expand".split()}


def _named_weights(exported: Exported) -> dict[fx.Node, str]:
    nodes = (node for node in exported.graph_module.graph.nodes if node.op == "placeholder")
    pairs = zip(nodes, exported.inputs, strict=True)
    return {node: exported.aliases.get(one.name, one.name) for node, one in pairs if one.kind == "state"}
