"""From a module to its graph: ``torch.export``, non-strict and undecomposed, without touching the caller's module."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_leaves

from lmc._errors import SymmetryError


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
        duplicate = copy.deepcopy(model).eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # export warns of attributes that modules set while they run (nn.LSTM)
            program = torch.export.export(duplicate, tuple(args), dict(kwargs or {}), strict=False)
    except Exception as error:  # torch.export raises whatever the forward pass or its own machinery raises
        reason = str(error).strip().splitlines()
        raise SymmetryError(
            f"{type(model).__name__} could not be traced: {type(error).__name__}: {' '.join(reason[:2])[:400]}"
        ) from error
    return Exported(program.graph_module, tuple(_inputs(program, args, kwargs or {})), _aliases(model))


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


def _aliases(model: nn.Module) -> dict[str, str]:
    """Names that share a tensor: every further name points to the first."""
    first: dict[int, str] = {}
    aliases: dict[str, str] = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        if first.setdefault(id(tensor), name) != name:
            aliases[name] = first[id(tensor)]
    return aliases


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
    graph_module.recompile()


def _mapped(argument: Any, narrow: set[torch.dtype]) -> Any:
    return map_aggregate(argument, lambda one: torch.float64 if isinstance(one, torch.dtype) and one in narrow else one)
