"""Where the units of every group show while the network runs, and which side of its weights they are on.

A group lies in tensors of the state dict; its units also lie in activations. Both are read off one more walk over the
graph. Activation methods look at the sites, layer-wise methods ask whether a tensor makes the units or reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import fx

from lmc._errors import SymmetryError
from lmc.symmetry.axes import Leaf, Term, leaves, resolve
from lmc.symmetry.export import Exported
from lmc.symmetry.find import axis_of, trace
from lmc.symmetry.places import places, settle, slots
from lmc.symmetry.spec import Axis, PermutationGroup, PermutationSpec
from lmc.symmetry.walk import Trace, Value, op_name
from lmc.symmetry.wreath import outer_axes

Place = Literal["pre", "post"]


@dataclass(frozen=True, eq=False)
class Site:
    """One tensor that the network makes while it runs, and the groups whose units lie in it.

    Parameters
    ----------
    node : str
        Name of the graph's node.
    output : tuple of int
        Which tensor of the node: empty where it makes one, (0,) for the first of several; (1, 2) is what a recurrent
        layer stacks: cell 2 of its second output.
    axes : mapping of str to Axis
        Group name to where it lies; ``axis.units(tensor)`` has a row per unit.
    before : str
        Name of the node that reads it: what is written into the tensor in place is there by then, and nothing later.
    over_time : bool
        Whether it is the output of a recurrent layer at every time step.
    """

    node: str
    output: tuple[int, ...]
    axes: Mapping[str, Axis]
    before: str = ""
    over_time: bool = False


@dataclass(frozen=True, eq=False)
class Roles:
    """Which axes make a group's units and which read them.

    Parameters
    ----------
    makes : frozenset of (param, dim, group)
        Rows of a layer, biases, scales: what is used along with the group's units in the output.
    """

    makes: frozenset[tuple[str, int, str]]

    def made(self, group: PermutationGroup) -> list[Axis]:
        """Return the axes of a group along which its units are made."""
        return [axis for axis in group.axes if (axis.param, axis.dim, group.name) in self.makes]


class Sighting:
    """The graph walked once more, with the groups of a spec told apart in every value.

    Parameters
    ----------
    spec : PermutationSpec
        Whose groups are looked for.
    exported : Exported, optional
        The graph; by default the one the spec was found in. Another one is the same network at another batch size.

    Raises
    ------
    SymmetryError
        If there is no graph, or a group of the spec does not show in it.
    """

    def __init__(self, spec: PermutationSpec, exported: Exported | None = None) -> None:
        graph = exported or spec.exported
        if graph is None:
            raise SymmetryError("The network was not traced, so where its units show is not known: use 'weights'.")
        self.spec, self.exported = spec, graph
        self._tensors, self._trace = trace(graph)
        _settle(self._tensors, self._trace)
        self._leaves = {group.name: self._leaf(group) for group in spec.groups}
        self._names = {leaf: name for name, leaf in self._leaves.items()}
        outer = outer_axes(self._trace)
        self._over = {
            group.name: outer.get(self._leaves[group.name], ()) if group.over else () for group in spec.groups
        }
        top = graph.graph_module.graph
        self._values = {node: value for node, value in self._trace.nodes.items() if node.graph is top}
        self._fed = _fed(graph)

    @property
    def nodes(self) -> list[fx.Node]:
        """The graph's nodes, in order."""
        return list(self._values)

    def groups_in(self, node: fx.Node) -> set[str]:
        """Return the names of the groups whose units lie in what a node gives out."""
        return {self._names[leaf] for leaf in self._shown(node)}

    def at(self, name: str, groups: Sequence[str]) -> Site | None:
        """Return the output of a node, by its name, as a place where groups are seen; None where they are not."""
        node = next(one for one in self._values if one.name == name)
        value, held = self._values[node], {self._leaves[group] for group in groups}
        if not isinstance(value, Value):
            return None
        before = next((user.name for user in _real_users(node)), "")
        return self._with_axes(node, (), value, held & self._shown(node), before)

    def roles(self) -> Roles:
        """Return which axes make units and which read them."""
        makes: set[tuple[str, int, str]] = set()
        for param, node in self.parameters():
            for user in _real_users(node):
                shown = self._shown(user)
                for group, axis in self.spec.axes_of.get(param, ()):
                    # A recurrent layer gives out the states of all its layers, also of those its later ones read.
                    if self._leaves[group] in shown and not (_short(user) in RECURRENT and axis.dim > 0):
                        makes.add((param, axis.dim, group))
        return Roles(frozenset(self._by_matrix(makes)))

    def _by_matrix(self, makes: set[tuple[str, int, str]]) -> Iterator[tuple[str, int, str]]:
        """Of a group on both sides of one tensor (hidden to hidden) only the first dimension makes it."""
        for param, dim, group in makes:
            others = [axis.dim for name, axis in self.spec.axes_of[param] if name == group]
            if dim == min(others):
                yield param, dim, group

    def sites(self, place: Place) -> list[Site]:
        """Return the activations to look at.

        Parameters
        ----------
        place : {"pre", "post"}
            ``post``: what the next layer reads. ``pre``: what goes into a nonlinearity; groups that none acts on (a
            stream of residuals between norms) are seen where they are read.

        Returns
        -------
        list of Site
            In the order of the forward pass. Recurrent units are seen at every time step and nowhere else.
        """
        recurrent = [site for node in self._values for site in self._recurrent(node)]
        found = [site for node in self._values if (site := self._site(node, place)) is not None]
        seen = {name for site in (*recurrent, *found) for name in site.axes}
        if place == "pre":
            late = [site for node in self._values if (site := self._site(node, "post")) is not None]
            found += [only for site in late if (only := _without(site, seen)) is not None]
        whole = {name for site in recurrent for name in site.axes}
        found = [only for site in found if (only := _without(site, whole)) is not None]
        order = {node.name: number for number, node in enumerate(self._values)}
        return sorted([*recurrent, *found], key=lambda site: order[site.node])

    def _site(self, node: fx.Node, place: Place) -> Site | None:
        value = self._values.get(node)
        if not isinstance(value, Value) or value.uniform or node not in self._fed or node.op != "call_function":
            return None
        held: set[Leaf] = set()
        before = ""
        for user in _real_users(node):
            if place == "pre":
                now = self._shown(node) if _short(user) in NONLINEAR else set()
            else:
                now = self._shown(node) - self._shown(user) | self._contracted(node, user)
            before = before or (user.name if now else "")
            held |= now
        return self._with_axes(node, (), value, held, before)

    def _contracted(self, node: fx.Node, user: fx.Node) -> set[Leaf]:
        """Return what a layer sums over, even where its output holds the same group again."""
        op, value = _short(user), self._values[node]
        if not isinstance(value, Value) or not user.args or user.args[0] is not node:
            return set()
        dim = len(value.axes) - 1 if op == "linear" else 1 if op.startswith("conv") and op[-1:] == "d" else None
        held = set() if dim is None or dim >= len(value.axes) else set(leaves(value.axes[dim]))
        return held & self._names.keys()

    def _with_axes(
        self, node: fx.Node, output: tuple[int, ...], value: Value, held: set[Leaf], before: str
    ) -> Site | None:
        axes = {}
        held = held | self._coupled(value, held)
        for leaf in held:
            name = self._names.get(leaf)
            dims = [dim for dim, axis in enumerate(value.axes) if leaf in leaves(axis)]
            axis = axis_of(value, node.name, dims[0], leaf, self._over[name]) if name and len(dims) == 1 else None
            if name is not None and axis is not None:
                axes[name] = axis
        order = [group.name for group in self.spec.groups if group.name in axes]
        return Site(node.name, output, {name: axes[name] for name in order}, before) if axes else None

    def _coupled(self, value: Value, held: set[Leaf]) -> set[Leaf]:
        """Return the leaves that an element of the value is numbered by together with one of those given."""
        dims = [[set(branch) & self._names.keys() for branch, _ in places(axis)] for axis in value.axes]
        found = set(held)
        for leaf in held:
            for branches in dims:
                within = [branch for branch in branches if leaf in branch]
                found |= {other for branch in within or branches for other in branch}
        return found

    def _recurrent(self, node: fx.Node) -> Iterator[Site]:
        """Yield a site for the hidden states of every layer and direction, and for projected cells their last state."""
        if _short(node) not in RECURRENT or not isinstance(self._values[node], list):
            return
        seen: set[Leaf] = set()
        for output, stacked in enumerate(self._values[node][1:], start=1):
            for cell, piece in enumerate(stacked.apart()):
                fresh = set(leaves(piece.axes[-1])) - seen
                # Hidden states come with every time step, shaped as the first output is; the capture makes them.
                whole = Value((Leaf(1), Leaf(1), piece.axes[-1])) if output == 1 else piece
                site = self._with_axes(node, (output, cell), whole, fresh, node.name)
                if site is not None:
                    yield replace(site, over_time=output == 1)
            seen |= {leaf for piece in stacked.apart() for leaf in leaves(piece.axes[-1])}

    def _shown(self, node: fx.Node) -> set[Leaf]:
        """Return the groups' leaves in the outputs of a node."""
        value = self._values.get(node)
        held = [value] if isinstance(value, Value) else [one for one in value or () if isinstance(one, Value)]
        return {leaf for one in held for leaf in self._shown_in(one)}

    def _shown_in(self, value: Value) -> set[Leaf]:
        pieces = (value, *value.apart())
        return {leaf for one in pieces for axis in one.axes for leaf in leaves(axis) if leaf in self._names}

    def parameters(self) -> Iterator[tuple[str, fx.Node]]:
        """Yield every tensor of the state, under the name that the groups know it by, with its node."""
        nodes = (node for node in self._values if node.op == "placeholder")
        for node, one in zip(nodes, self.exported.inputs, strict=True):
            if one.kind == "state":
                yield self.exported.aliases.get(one.name, one.name), node

    def _leaf(self, group: PermutationGroup) -> Leaf:
        """Return what a group is in this walk: the leaf that lies where its axes do."""
        for held in group.axes:
            value = self._tensors.get(held.param)
            if value is None:
                continue
            axis = value.axes[held.dim]
            for leaf in dict.fromkeys(leaves(axis)):
                if leaf.size == group.size and _covers(axis, leaf, held):
                    return leaf
        raise SymmetryError(f"Group {group.name!r} does not show in the network's graph: use 'weights'.")


NONLINEAR = frozenset(
    "relu relu6 leaky_relu elu selu celu gelu silu mish tanh sigmoid softplus hardtanh hardsigmoid hardswish prelu "
    "rrelu logsigmoid hardshrink softshrink tanhshrink clamp abs sin exp".split()
)
"""Ops that act on every unit alone and bend it."""

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})


def _short(node: fx.Node) -> str:
    return op_name(node.target).removeprefix("aten.").removesuffix("_") if node.op == "call_function" else ""


def _real_users(node: fx.Node) -> list[fx.Node]:
    """Return what uses a node, where that is no check."""
    return [user for user in node.users if "_assert_tensor_metadata" not in str(user.target)]


def _fed(exported: Exported) -> set[fx.Node]:
    """Return the nodes that depend on the user's inputs."""
    nodes = (node for node in exported.graph_module.graph.nodes if node.op == "placeholder")
    fed = {node for node, one in zip(nodes, exported.inputs, strict=True) if one.kind == "input"}
    for node in exported.graph_module.graph.nodes:
        if any(source in fed for source in node.all_input_nodes):
            fed.add(node)
    return fed


def _settle(tensors: Mapping[str, Value], found: Trace) -> None:
    held = [one for value in (*found.values, *tensors.values()) for one in (value, *value.apart())]
    settle([axis for value in held for axis in value.axes])


def _covers(axis: Term, leaf: Leaf, held: Axis) -> bool:
    """Say whether every unit of a leaf lies at just the positions of a group's axis, all blocks taken together."""
    if held.positions is None:
        return resolve(axis) is leaf
    where = slots(axis, leaf)
    if where is None:
        return False
    # Unit by unit: heads, and as many units in each of them, cover the same positions.
    ours, theirs = (np.sort(one.reshape(-1, leaf.size), axis=0) for one in (where, held.positions))
    return np.array_equal(ours, theirs)


def _without(site: Site, names: set[str] | Sequence[str]) -> Site | None:
    axes = {name: axis for name, axis in site.axes.items() if name not in names}
    return replace(site, axes=axes) if axes else None
