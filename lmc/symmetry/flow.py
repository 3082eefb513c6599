"""Stretches: where along the graph the units of a group are the same ones, and where two of them are added.

To a permutation a residual stream is one group, and one index vector serves all of it. A soft map that is found layer
by layer is another one after every addition: the stream is cut there, and every tensor told which piece it lies on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from lmc.symmetry.sites import NONLINEAR, Roles, Sighting
from lmc.symmetry.walk import op_name

_CONTRACTIONS = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "embedding")
_ADDITIONS = ("add", "add_", "sub", "sub_")

Where = tuple[str, int, str]
"""Name of a tensor, dimension, group."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of the graph in which a group's units are the same ones throughout.

    Parameters
    ----------
    group : str
        Whose units.
    made : tuple of (param, dim)
        Tensors, no buffers, that make the units there: weights, biases, scales.
    seen : tuple of str
        Names of the nodes whose outputs show them: what goes into nonlinearities, else the last node.
    joined : (int, int), optional
        For the sum of two stretches, their numbers: the one that was there first (a skip connection), and the other.
    terms : (str, str), optional
        Names of the two nodes that are added.
    """

    group: str
    made: tuple[tuple[str, int], ...]
    seen: tuple[str, ...]
    joined: tuple[int, int] | None = None
    terms: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Flow:
    """All stretches of a network.

    Parameters
    ----------
    stretches : tuple of Stretch
        In the order of the forward pass.
    where : mapping of (param, dim, group) to int
        The stretch that each axis of a group lies on.
    calls : mapping of str to tuple of str
        Name of every node that computes with weights to the names of these tensors.
    """

    stretches: tuple[Stretch, ...]
    where: Mapping[Where, int]
    calls: Mapping[str, tuple[str, ...]]

    def of(self, group: str) -> list[int]:
        """Return the numbers of a group's stretches."""
        return [number for number, one in enumerate(self.stretches) if one.group == group]


def flow(sighting: Sighting, cut: Sequence[str]) -> Flow:
    """Cut groups into stretches.

    Parameters
    ----------
    sighting : Sighting
        The graph with the groups told apart.
    cut : sequence of str
        Groups that are cut at additions; of every other one all tensors lie on one stretch.
    """
    graph = _Graph(sighting)
    roles = sighting.roles()
    pieces = [_Pieces(graph, group.name, group.name in cut) for group in sighting.spec.groups]
    held = {place: (one, root) for one in pieces for place, root in one.places(roles).items()}
    terms = {(one, one.find(term)) for one in pieces for pair in one.sums.values() for term in pair}
    # A weight that is only read is seen nowhere else: its units lie on the piece that it reads.
    used = [(one, root) for one in pieces for root in one.roots if (one, root) in {*held.values(), *terms}]
    used.sort(key=lambda found: found[0].first(found[1]))
    numbers = {found: number for number, found in enumerate(used)}
    where = {place: numbers[found] for place, found in held.items()}
    stretches = tuple(_stretch(one, root, numbers, where, roles) for one, root in used)
    return Flow(stretches, where, graph.calls)


class _Graph:
    """Nodes in order, what they hold, and which tensors of the state they are."""

    def __init__(self, sighting: Sighting) -> None:
        self.sighting = sighting
        self.nodes = sighting.nodes
        self.order = {node: number for number, node in enumerate(self.nodes)}
        self.shown = {node: sighting.groups_in(node) for node in self.nodes}
        self.params = {node: name for name, node in sighting.parameters()}
        self.calls = {
            node.name: tuple(self.params[one] for one in node.all_input_nodes if one in self.params)
            for node in self.nodes
            if short(node).startswith(("conv", *_CONTRACTIONS))
        }


class _Pieces:
    """The nodes that hold one group, joined where its units are the same ones."""

    def __init__(self, graph: _Graph, group: str, cut: bool) -> None:
        self.graph, self.group = graph, group
        self._held = [node for node in graph.nodes if group in graph.shown[node] and node.users]
        self._root = {node: node for node in self._held}
        self.sums: dict[fx.Node, tuple[fx.Node, fx.Node]] = {}
        for node in graph.nodes:
            self._enter(node, cut)
        while trivial := [node for node, pair in self.sums.items() if self.find(pair[0]) is self.find(pair[1])]:
            for node in trivial:
                self._join(node, self.sums.pop(node)[0])
        self.roots = list(dict.fromkeys(self.find(node) for node in self._held))

    def find(self, node: fx.Node) -> fx.Node:
        """Return what stands for a node's piece: its first node."""
        while self._root[node] is not node:
            node = self._root[node]
        return node

    def first(self, root: fx.Node) -> int:
        """Return where in the graph a piece begins to be used: parameters stand before everything."""
        members = [node for node in self._held if self.find(node) is root and node.op == "call_function"]
        return min((self.graph.order[node] for node in members), default=self.graph.order[root])

    def _join(self, one: fx.Node, other: fx.Node) -> None:
        pair = sorted((self.find(one), self.find(other)), key=lambda node: self.graph.order[node])
        self._root[pair[1]] = pair[0]

    def _enter(self, node: fx.Node, cut: bool) -> None:
        """Join a node with those of its inputs that hold the same units."""
        inputs = [one for one in node.all_input_nodes if self.group in self.graph.shown.get(one, ())]
        if not inputs or node.op != "call_function":
            return
        layer = node.name in self.graph.calls
        if node not in self._root:  # summed over: what is summed together goes together
            for one in inputs[1:]:
                if not (layer and (one in self.graph.params or inputs[0] in self.graph.params)):
                    self._join(inputs[0], one)
            return
        if layer and len(inputs) > 1 and any(one in self.graph.params for one in inputs):
            inputs = [one for one in inputs if one in self.graph.params]  # reads the group and makes it anew
        terms = [one for one in inputs if not self._flat(one)]
        if cut and short(node) in _ADDITIONS and len(terms) == 2:
            early, late = sorted(terms, key=lambda one: self.graph.order[one])
            self.sums[node] = early, late
            return
        for one in inputs:
            self._join(node, one)

    def _flat(self, node: fx.Node) -> bool:
        """Say whether a node is a vector of the state: a bias or a scale, no stream of its own."""
        name = self.graph.params.get(node)
        return name is not None and len(self.graph.sighting.spec.shapes[name]) == 1

    def members(self, root: fx.Node) -> list[fx.Node]:
        """Return the nodes of a piece, in order."""
        return [node for node in self._held if self.find(node) is root]

    def places(self, roles: Roles) -> dict[Where, fx.Node]:
        """Return the piece that every axis of the group lies on."""
        found: dict[Where, fx.Node] = {}
        for node, name in self.graph.params.items():
            dims = [axis.dim for group, axis in self.graph.sighting.spec.axes_of.get(name, ()) if group == self.group]
            for dim in dims:
                root = self._place(node, (name, dim, self.group) in roles.makes)
                if root is not None:
                    found.setdefault((name, dim, self.group), root)
        return found

    def _place(self, param: fx.Node, makes: bool) -> fx.Node | None:
        """Return the piece of one axis of a tensor: its own where it makes units, else where what it reads lies."""
        if param not in self._root:
            return None
        for user in () if makes else param.users:
            data = [one for one in user.all_input_nodes if one is not param and one in self._root]
            if user.name in self.graph.calls and data:
                return self.find(data[0])
        return self.find(param)


def _stretch(
    pieces: _Pieces,
    root: fx.Node,
    numbers: Mapping[tuple[_Pieces, fx.Node], int],
    where: Mapping[Where, int],
    roles: Roles,
) -> Stretch:
    own, buffers = numbers[pieces, root], pieces.graph.sighting.spec.buffers
    made = tuple(
        place[:2]
        for place, number in where.items()
        if number == own and place in roles.makes and place[0] not in buffers
    )
    members = pieces.members(root)
    bent = [node for node in members if any(short(user) in NONLINEAR and user in members for user in node.users)]
    seen = tuple(node.name for node in bent or members[-1:])
    for node in members:
        if node in pieces.sums:
            pair = pieces.sums[node]
            one, other = (numbers[pieces, pieces.find(term)] for term in pair)
            if own not in (one, other):
                return Stretch(pieces.group, made, seen, (one, other), (pair[0].name, pair[1].name))
    return Stretch(pieces.group, made, seen)


def short(node: fx.Node) -> str:
    """Return the name of a node's op without its library."""
    return op_name(node.target).removeprefix("aten.") if node.op == "call_function" else ""
