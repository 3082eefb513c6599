"""What a group is in the words of the field: channels, heads, a residual stream. For people; nothing hangs on it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import fx

from lmc.symmetry.export import Exported
from lmc.symmetry.spec import PermutationGroup
from lmc.symmetry.walk import op_name

_CONTRACTIONS = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "embedding")
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
    # Different ones on either side: in GELU's polynomial a layer is added to a power of itself.
    if any(params & (left - right) and params & (right - left) for left, right in layers.joined):
        return "residual stream"
    return "channels" if convolved else "units"


def _holds_blocks(group: PermutationGroup) -> bool:
    """Say whether each unit of an inner group is itself a run of positions, wherever it lies: query heads are."""
    held = [axis.positions for axis in group.axes if axis.positions is not None]
    return bool(held) and all(one.shape[1] > 1 and (np.diff(one, axis=1) == 1).all() for one in held)


def _layers(exported: Exported) -> Layers:
    convolved: set[str] = set()
    joined: list[tuple[frozenset[str], frozenset[str]]] = []
    sources, fed = _beginnings(exported)
    attends = False
    for node in exported.graph_module.graph.nodes:
        if node.op != "call_function":
            continue
        op = op_name(node.target).removeprefix("aten.").removesuffix("_")
        attends = attends or op.endswith(_ATTENTION)
        inputs = node.all_input_nodes
        # What a contraction is fed stays behind it: its output comes from its weights, however these were computed.
        weights = [one for one in inputs if one not in fed] if op.startswith("conv") or op in _CONTRACTIONS else []
        sources[node] = frozenset().union(*(sources.get(one, frozenset()) for one in weights or inputs))
        if any(one in fed for one in inputs):
            fed.add(node)
        if op.startswith("conv"):
            convolved |= sources[node]
        sides = [sources.get(one, frozenset()) for one in inputs]
        if op == "add" and len(sides) == 2 and all(sides):
            joined.append((sides[0], sides[1]))
    return Layers(convolved, joined, attends)


def _beginnings(exported: Exported) -> tuple[dict[fx.Node, frozenset[str]], set[fx.Node]]:
    """Return the matrices and kernels that the graph begins with, and the nodes that hold the user's inputs."""
    nodes = (node for node in exported.graph_module.graph.nodes if node.op == "placeholder")
    sources, fed = {}, set()
    for node, one in zip(nodes, exported.inputs, strict=True):
        if one.kind == "input":
            fed.add(node)
        elif one.kind == "state" and one.value.dim() > 1:
            sources[node] = frozenset([exported.aliases.get(one.name, one.name)])
    return sources, fed
