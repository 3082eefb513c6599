"""From a module to its graph: ``torch.export``, non-strict and undecomposed, without touching the caller's module."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_leaves, tree_map

from lmc._errors import SymmetryError
from lmc._imports import blame


@dataclass(frozen=True)
class Input:
    """One placeholder of the graph: a named tensor of the state dict, a constant, or an input of the user's."""

    kind: str
    """``state``, ``constant`` or ``input``."""
    name: str
    value: Any
    used: bool


@dataclass(frozen=True)
class Exported:
    """A graph and what goes into it.

    Parameters
    ----------
    graph_module : torch.fx.GraphModule
        Takes every placeholder as an argument; nothing is held inside.
    inputs : tuple of Input
        In the order of the placeholders.
    aliases : mapping
        Name of a tied tensor to the name it is listed under.
    """

    graph_module: fx.GraphModule
    inputs: tuple[Input, ...]
    aliases: Mapping[str, str]

    def order(self) -> list[str]:
        """Names of the state's tensors in the order in which the forward pass first uses them."""
        names = {node: one.name for node, one in zip(_placeholders(self.graph_module), self.inputs, strict=True)}
        seen: dict[str, None] = {}
        for node in self.graph_module.graph.nodes:
            for source in node.all_input_nodes:
                if source in names:
                    seen.setdefault(self.aliases.get(names[source], names[source]))
        return list(seen)


def export(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Exported:
    """Trace a module in eval mode.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is: a copy is traced.
    args, kwargs
        Example inputs; shapes matter, numbers do not.

    Raises
    ------
    SymmetryError
        If the module cannot be exported; the message holds the reason torch gives.
    """
    try:
        aliases = tied(model)
        duplicate = twin(model, sharing=True).eval()
        args, kwargs = _beside(model, args, kwargs or {})
        with warnings.catch_warnings(), torch.no_grad(), _silence():
            warnings.simplefilter("ignore")  # export warns of attributes that modules set while they run (nn.LSTM)
            program = torch.export.export(duplicate, args, kwargs, strict=False)
    except Exception as error:  # torch.export raises whatever the forward pass or its own machinery raises
        raise SymmetryError(
            f"{type(model).__name__} could not be traced, so its symmetries are not known. {blame(error)[:500]}. "
            f"Write them down instead: 'lmc symmetries MODEL --write-spec spec.toml' makes a form to fill in, '--spec "
            "spec.toml' takes it. What needs no symmetries works: alignment 'none'."
        ) from error
    return Exported(program.graph_module, tuple(_inputs(program, args, kwargs)), aliases)


def twin(model: nn.Module, *, sharing: bool = False) -> nn.Module:
    """Return a copy of a module, sharing the parameters where it is traced only: fake tensors stand in for them."""
    kept: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters()} if sharing else {}
    for module in model.modules():
        # What hooks compute from parameters (weight_norm, pruning) is computed anew, and could not be copied.
        computed = (t for t in vars(module).values() if isinstance(t, Tensor) and not t.is_leaf)
        kept.update((id(tensor), tensor.detach()) for tensor in computed)
    return copy.deepcopy(model, kept)


def _beside(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Return the inputs on the meta device if that is where the weights are."""
    if not any(tensor.is_meta for tensor in model.parameters()):
        return tuple(args), dict(kwargs)
    return tree_map(lambda one: one.to("meta") if isinstance(one, Tensor) else one, (tuple(args), dict(kwargs)))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep torch from printing its graphs when a module cannot be traced; the error says what matters."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)


def _inputs(program: torch.export.ExportedProgram, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Input]:
    """List the placeholders; tied tensors are one value, whichever of their names the graph uses."""
    user = iter(tree_leaves((tuple(args), dict(kwargs))))
    held = {**program.state_dict, **program.constants}
    inputs = []
    for spec, node in zip(program.graph_signature.input_specs, _placeholders(program.graph_module), strict=True):
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(Input("input", node.name, next(user), bool(node.users)))
            continue
        value = held.get(str(spec.target))
        persistent = spec.kind is InputKind.PARAMETER or (spec.kind is InputKind.BUFFER and spec.persistent)
        inputs.append(Input("state" if persistent else "constant", str(spec.target), value, bool(node.users)))
    return inputs


def _placeholders(graph_module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in graph_module.graph.nodes if node.op == "placeholder"]


def tied(model: nn.Module) -> dict[str, str]:
    """Return the names that share a tensor: every further name with the first."""
    first: dict[Any, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in _held(model):
        key = (tensor.data_ptr(), tensor.shape, tensor.stride()) if _has_memory(tensor) else id(tensor)
        if first.setdefault(key, name) != name:
            aliases[name] = first[key]
    return aliases


def overlapping(model: nn.Module) -> set[str]:
    """Return the names of tensors that share memory with another in another layout: they cannot be permuted alone."""
    layouts: dict[int, set[Any]] = {}
    names: dict[int, list[str]] = {}
    for name, tensor in _held(model):
        if _has_memory(tensor):
            memory = tensor.untyped_storage().data_ptr()
            layouts.setdefault(memory, set()).add(
                (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.element_size())
            )
            names.setdefault(memory, []).append(name)
    # Tensors laid side by side in one buffer (cuDNN's flat weights) do not touch each other.
    return {name for memory, held in layouts.items() if len(held) > 1 and _collide(held) for name in names[memory]}


def _collide(layouts: set[Any]) -> bool:
    spans = sorted((start, start + size * math.prod(shape)) for start, shape, _, size in layouts)
    return any(after[0] < before[1] for before, after in itertools.pairwise(spans))


def _held(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _has_memory(tensor: Tensor) -> bool:
    return tensor.numel() > 0 and not tensor.is_meta and not isinstance(tensor, torch._subclasses.FakeTensor)


def run(graph_module: fx.GraphModule, inputs: Sequence[Any]) -> list[Tensor]:
    """Run the graph and return its floating-point outputs."""
    with torch.no_grad():
        outputs = fx.Interpreter(graph_module).run(*inputs, enable_io_processing=False)
    tensors = (t for t in tree_leaves(outputs) if isinstance(t, Tensor))
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def in_float64(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of the graph that computes in float64: casts to narrower types are rewritten, checks dropped."""
    graph_module = copy.deepcopy(graph_module)
    for module in graph_module.modules():
        if isinstance(module, fx.GraphModule):
            _widen(module)
    return graph_module


def _widen(graph_module: fx.GraphModule) -> None:
    narrow = {torch.float32, torch.float16, torch.bfloat16}
    for node in list(graph_module.graph.nodes):
        if "_assert_tensor_metadata" in str(node.target):
            graph_module.graph.erase_node(node)
            continue
        node.args = _mapped(node.args, narrow)
        node.kwargs = _mapped(node.kwargs, narrow)
        if _makes(node, narrow):
            node.kwargs = {**node.kwargs, "dtype": torch.float64}
    graph_module.recompile()


def _makes(node: fx.Node, narrow: set[torch.dtype]) -> bool:
    """Say whether a node makes a narrow tensor from nothing (``torch.zeros``), in the default type."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or any(isinstance(argument, fx.Node) for argument in node.args):
        return False
    takes = any(argument.name == "dtype" for argument in schema.arguments)
    return takes and getattr(node.meta.get("val"), "dtype", None) in narrow and "dtype" not in node.kwargs


def _mapped(argument: Any, narrow: set[torch.dtype]) -> Any:
    return map_aggregate(argument, lambda one: torch.float64 if isinstance(one, torch.dtype) and one in narrow else one)
