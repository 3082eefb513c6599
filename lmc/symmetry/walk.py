"""The walk over an exported graph: every tensor gets axes, every op's rule says which of them are one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import fx

from lmc.symmetry.axes import Leaf, Term, freeze, resolve, unify


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor in the graph.

    Parameters
    ----------
    axes : tuple of Term
        One per dimension.
    uniform : bool
        The same number everywhere (``torch.zeros``): any permutation leaves it alone, so it ties nothing together.
    stacked : (dim, values), optional
        What lies at each index of one dimension, where these have axes of their own (queries, keys and values in one
        tensor; the states of several layers). An op that does not take them apart makes their axes one.
    """

    axes: tuple[Term, ...]
    uniform: bool = False
    stacked: tuple[int, tuple[Value, ...]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(axis.size for axis in self.axes)

    def apart(self) -> Iterator[Value]:
        """Yield the stacked values, or this one where nothing is stacked."""
        if self.stacked is None:
            yield self
        else:
            for piece in self.stacked[1]:
                yield from piece.apart()


def stack(dim: int, pieces: Sequence[Value]) -> Value:
    """Return the value that has the given ones at the indices of a new dimension, in that order."""
    axes = [Leaf(axis.size) for axis in pieces[0].axes]
    axes.insert(dim, Leaf(len(pieces), "taken apart by position"))
    return Value(tuple(axes), stacked=(dim, tuple(pieces)))


Rule: TypeAlias = Callable[["Op"], Any]
"""What an op does to axes: reads ``op``'s arguments, unifies or freezes, returns the output value (or a list)."""


@dataclass(eq=False)
class Trace:
    """What a walk leaves behind beside the axes: every tensor, what every op paired, what was taken apart.

    Parameters
    ----------
    values : list of Value
        Every tensor of the graph.
    pairs : list of list
        For every op the axes it made one: these are matched index by index.
    born : dict
        Axis that a reshape made, to the place (op, dimension) where it did.
    taken_apart : set
        Places whose axis an op took apart by position.
    nodes : dict
        Node of the graph (subgraphs included) to its value, or the list of them where it has several.
    """

    values: list[Value] = field(default_factory=list)
    pairs: list[list[tuple[Term, Term]]] = field(default_factory=list)
    born: dict[Leaf, tuple[int, int]] = field(default_factory=dict)
    taken_apart: set[tuple[int, int]] = field(default_factory=set)
    nodes: dict[fx.Node, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Op:
    """One call in the graph as a rule sees it: values for tensors, plain Python for the rest."""

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    shape: Any
    """Shape of the output, or a list of shapes where the op returns several tensors."""
    schema: tuple[str, ...] = ()
    """Names of the arguments, in order."""
    index: int = 0
    """Number of the op in the walk."""
    trace: Trace = field(default_factory=Trace)
    apart: frozenset[tuple[int, int]] = frozenset()
    """Places (op, dimension) known from an earlier walk to be taken apart by position."""
    pairs: list[tuple[Term, Term]] = field(default_factory=list)

    def get(self, position: int, default: Any = None) -> Any:
        """Return an argument by position, whether it was passed by position or by name."""
        if position < len(self.args):
            return self.args[position]
        name = self.schema[position] if position < len(self.schema) else ""
        return self.kwargs.get(name, default)

    @property
    def values(self) -> list[Value]:
        """Every tensor argument, lists opened."""
        return list(_values([*self.args, *self.kwargs.values()]))

    def unify(self, a: Term, b: Term) -> None:
        """Make two axes one, since the op matches them index by index."""
        self.pairs.append((a, b))
        unify(a, b)

    def part(self, rule: Rule, *args: Any, shape: Any = None) -> Any:
        """Do part of the op's work as an op of its own, so that what it matches is told apart from the rest."""
        pairs: list[tuple[Term, Term]] = []
        self.trace.pairs.append(pairs)
        value = rule(replace(self, args=args, kwargs={}, shape=shape, schema=(), pairs=pairs))
        self.trace.values.extend(_values([value]))
        return value

    def mixes(self, x: Value, *dims: int) -> None:
        """Note that the op mixes what lies along some dimensions: there is a statistic without them."""
        gone = {dim % len(x.axes) for dim in dims}
        self.trace.values.append(Value(tuple(axis for dim, axis in enumerate(x.axes) if dim not in gone)))

    def freeze(self, *axes: Term, why: str = "") -> None:
        """Freeze axes, naming this op (and what it does with them) as the reason."""
        for axis in axes:
            freeze(axis, f"{self.name}: {why}" if why else self.name)

    def frozen(self, size: int, why: str = "") -> Leaf:
        """Return a new axis that nothing may permute."""
        return Leaf(size, f"{self.name}: {why}" if why else self.name)

    def take_apart(self, axis: Term) -> None:
        """Note that the op tells the positions of an axis apart."""
        place = self.trace.born.get(axis) if isinstance(axis := resolve(axis), Leaf) else None
        if place is not None:
            self.trace.taken_apart.add(place)

    def collapse(self, value: Value) -> None:
        """Make the axes of stacked tensors one: the op treats them alike."""
        if value.stacked is not None:
            dim, pieces = value.stacked
            for piece in pieces:
                self.collapse(piece)
                for axis, own in zip((*value.axes[:dim], *value.axes[dim + 1 :]), piece.axes, strict=True):
                    self.unify(axis, own)


def _values(things: Any) -> Any:
    for thing in things:
        if isinstance(thing, Value):
            yield thing
        elif isinstance(thing, (list, tuple)):
            yield from _values(thing)


def unknown(op: Op) -> Any:
    """Freeze everything an op touches that no rule is known for."""
    for value in op.values:
        op.freeze(*value.axes, why="no rule for this op")
    return fill(op.shape, lambda size: op.frozen(size, "no rule for this op"))


def fill(shape: Any, axis: Callable[[int], Term], *, uniform: bool = False) -> Any:
    """Return new values of the given shape (or list of shapes), each axis made by ``axis(size)``."""
    if shape is None:
        return None
    if isinstance(shape, list):
        return [fill(one, axis, uniform=uniform) for one in shape]
    return Value(tuple(axis(size) for size in shape), uniform=uniform)


@dataclass(frozen=True)
class Walk:
    """One walk over a graph and its subgraphs.

    Parameters
    ----------
    rules : mapping
        Op name (``aten.linear``) to rule; ops that are missing freeze what they touch.
    apart : frozenset
        Places that an earlier walk found to be taken apart by position.
    trace : Trace
        Filled as the walk goes.
    """

    rules: Mapping[str, Rule]
    apart: frozenset[tuple[int, int]] = frozenset()
    trace: Trace = field(default_factory=Trace)

    def run(self, graph_module: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        """Follow the graph once.

        Parameters
        ----------
        graph_module : torch.fx.GraphModule
            Exported, undecomposed.
        inputs : sequence
            One value per placeholder.

        Returns
        -------
        object
            What the graph returns, values in place of tensors.
        """
        env: dict[fx.Node, Any] = {}
        feed = iter(inputs)
        written = _written(graph_module)
        for node in graph_module.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(feed)
            elif node.op == "get_attr":
                env[node] = _attribute(graph_module, str(node.target))
            elif node.op == "call_function":
                env[node] = self._call(node, fx.map_arg(node.args, env.get), fx.map_arg(node.kwargs, env.get))
            if node in written and isinstance(env.get(node), Value):
                env[node] = replace(env[node], uniform=False)
            elif node.op == "output":
                return fx.map_arg(node.args[0], env.get)
            self.trace.values.extend(_values([env[node]]))
            self.trace.nodes[node] = env[node]
        raise ValueError("the graph has no output")

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.target is operator.getitem:
            return args[0][args[1]]
        graphs = [arg for arg in args if isinstance(arg, fx.GraphModule)]
        if len(graphs) == 1 and "wrap_with" in str(node.target):
            # A subgraph (wrap_with_set_grad_enabled) is walked as if it stood in the graph itself.
            return self.run(graphs[0], args[args.index(graphs[0]) + 1 :])
        name = str(node.target) if graphs else op_name(node.target)
        schema = getattr(node.target, "_schema", None)
        names = tuple(argument.name for argument in schema.arguments) if schema else ()
        index = len(self.trace.pairs)
        op = Op(name, args, kwargs, _shape(node.meta.get("val")), names, index, self.trace, self.apart)
        self.trace.pairs.append(op.pairs)
        rule = unknown if graphs else self.rules.get(name) or self.rules.get(name.removesuffix("_")) or unknown
        if not getattr(rule, "takes_stacks", False):
            for value in op.values:
                op.collapse(value)
        return _checked(op, rule)


def _checked(op: Op, rule: Rule) -> Any:
    """Follow a rule; where it fails, or gives another shape than the op, the op counts as unknown."""
    try:
        result = rule(op)
    except Exception:  # a call the rule was not written for: freezing is always right
        return unknown(op)
    if isinstance(result, Value) and isinstance(op.shape, tuple) and result.shape != op.shape:
        op.freeze(*result.axes, why="rule does not fit this call")
        return unknown(op)
    return result


def takes_stacks(rule: Rule) -> Rule:
    """Mark a rule that keeps stacked tensors apart."""
    rule.takes_stacks = True  # type: ignore[attr-defined]
    return rule


def _attribute(graph_module: fx.GraphModule, path: str) -> Any:
    thing = operator.attrgetter(path)(graph_module)
    return constant(thing) if isinstance(thing, torch.Tensor) else thing


def op_name(target: Any) -> str:
    """Return an op's name without its overload: ``aten.add`` for ``aten.add.Tensor``."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket)
    return str(target)


def _shape(val: Any) -> Any:
    if isinstance(val, torch.Tensor):
        return tuple(int(size) for size in val.shape)
    if isinstance(val, (list, tuple)):
        return [_shape(one) for one in val]
    return None


def _written(graph_module: fx.GraphModule) -> set[fx.Node]:
    """Return the nodes whose tensor is written to later, directly or through a view of it."""
    found: set[fx.Node] = set()
    for node in graph_module.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, fx.Node):
                found |= {value, *_bases(value)}
    return found


def _bases(node: fx.Node) -> Iterator[fx.Node]:
    """Yield what a tensor is a view of, and what that is a view of."""
    while node.op == "call_function" and node.args:
        source = node.args[0]
        returns = getattr(getattr(node.target, "_schema", None), "returns", ())
        views = node.target is operator.getitem or any(one.alias_info is not None for one in returns)
        if not views or not isinstance(source, fx.Node):
            return
        yield source
        node = source


def constant(tensor: torch.Tensor, reason: str = "a constant that varies along this axis") -> Value:
    """Return the value of a tensor that no state dict holds: free where it is the same all along, else frozen."""
    if tensor.numel() == 0 or tensor.device.type == "meta" or isinstance(tensor, torch._subclasses.FakeTensor):
        return Value(tuple(Leaf(size, reason) for size in tensor.shape))
    if bool((tensor == tensor.flatten()[0]).all()):
        return Value(tuple(Leaf(size) for size in tensor.shape), uniform=True)
    same = [bool((tensor == tensor.narrow(dim, 0, 1)).all()) for dim in range(tensor.dim())]
    return Value(tuple(Leaf(n) if s else Leaf(n, reason) for n, s in zip(tensor.shape, same, strict=True)))


def broadcast(op: Op, values: Sequence[Value], shape: Sequence[int]) -> Value:
    """Unify tensors of an elementwise op dimension by dimension, from the right."""
    axes: list[Term] = [Leaf(size) for size in shape]
    for value in values:
        if value.uniform:
            continue
        offset = len(shape) - len(value.axes)
        for dim, axis in enumerate(value.axes):
            if axis.size != 1:
                op.unify(axes[offset + dim], axis)
    return Value(tuple(axes), uniform=bool(values) and all(value.uniform for value in values))
