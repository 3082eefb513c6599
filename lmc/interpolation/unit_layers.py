"""Which layers of a network have units whose statistics can be set, found by running it once; and how to set them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmc._errors import ArchitectureError
from lmc._types import StateDict
from lmc.evaluation.losses import outputs_tensor

_UNIT_AXIS: dict[type[nn.Module], int] = {
    nn.Linear: -1,
    nn.Bilinear: -1,
    nn.Embedding: -1,
    nn.Conv1d: -2,
    nn.Conv2d: -3,
    nn.Conv3d: -4,
    nn.ConvTranspose1d: -2,
    nn.ConvTranspose2d: -3,
    nn.ConvTranspose3d: -4,
    nn.LayerNorm: -1,
    nn.RMSNorm: -1,
    nn.GroupNorm: 1,
    nn.BatchNorm1d: 1,
    nn.BatchNorm2d: 1,
    nn.BatchNorm3d: 1,
    nn.SyncBatchNorm: 1,
}
"""Axis of the output that counts units. Every output is affine in the layer's own weight and bias, unit by unit."""

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class UnitLayer:
    """A layer whose units get their statistics set.

    Parameters
    ----------
    name : str
        Of the module; the first, where it has several.
    axis : int
        Of the output, along which units lie.
    tensors : mapping of str to tuple of str
        The module's own tensors (``weight``) to their names in a state dict, all of them.
    kind : type
        Which layer it is.
    groups : int
        Of a transposed convolution.
    normalizes : bool
        Whether it is a BatchNorm with running statistics, which are measured anew.
    corrected : bool
        Whether its outputs get the statistics that are asked for; else they are only measured (a BatchNorm is reset).
    """

    name: str
    axis: int
    tensors: Mapping[str, tuple[str, ...]]
    kind: type[nn.Module] = nn.Linear
    groups: int = 1
    normalizes: bool = False
    corrected: bool = True

    @property
    def shifts(self) -> bool:
        """Whether a constant can be added to its outputs: it has a bias, or is a table."""
        return "bias" in self.tensors or self.kind is nn.Embedding

    @property
    def treatment(self) -> str:
        """What is done to its outputs."""
        what = "none" if not self.corrected else "scale and shift" if self.shifts else "scale only"
        return what if not self.normalizes else "reset" if not self.corrected else f"reset, {what}"

    def folded(self, state: StateDict, scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """Return the tensors with which the outputs are ``scale`` times the old ones plus ``shift``.

        Computed in float64; only those that change, under every name they have.

        Parameters
        ----------
        state : state dict
            Where the layer's tensors are now.
        scale, shift : float64 tensors, shape (units,)
        """
        weight = state[self.tensors["weight"][0]]
        wide, factor = weight.to(torch.float64), scale.to(weight.device)
        if self.kind in _TRANSPOSED:  # (in, out / groups, ...), the inputs in groups
            split = wide.unflatten(0, (self.groups, -1))
            factor = factor.view(self.groups, 1, -1, *(1 for _ in wide.shape[2:]))
            new = {"weight": (split * factor).flatten(0, 1)}
        elif self.kind is nn.Embedding:
            new = {"weight": wide * factor + shift.to(weight.device)}
        else:
            new = {"weight": wide * factor.view(-1, *(1 for _ in wide.shape[1:]))}
        if "bias" in self.tensors:
            bias = state[self.tensors["bias"][0]]
            new["bias"] = bias.to(torch.float64) * scale.to(bias.device) + shift.to(bias.device)
        return self.placed(state, new)

    def placed(self, state: StateDict, new: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the layer's new tensors under all their names, like the old ones in dtype and device."""
        found: dict[str, Tensor] = {}
        for own, value in new.items():
            first = value.to(state[self.tensors[own][0]])
            found |= dict.fromkeys(self.tensors[own], first)
        return found


@dataclass(frozen=True)
class UnitLayers:
    """The layers of a network in the order in which it runs them.

    Parameters
    ----------
    layers : tuple of UnitLayer
        Those that are measured.
    left : mapping of str to str
        Modules with parameters that stay as they are, and why.
    values : int
        Largest number of values that one example takes between two modules.
    """

    layers: tuple[UnitLayer, ...]
    left: Mapping[str, str]
    values: int


@dataclass
class _Call:
    """One use of a module in the pass that looks at the network."""

    module: nn.Module
    read: Any
    made: Any


@dataclass
class _Look:
    """What one pass over two examples shows."""

    calls: list[_Call] = field(default_factory=list)
    values: int = 1

    def hook(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        self.values = max(self.values, output.numel())
        if _kind(module) is not None:
            read = first_input(args, kwargs)
            self.calls.append(_Call(module, getattr(read, "grad_fn", None), output.grad_fn))


def find_unit_layers(network: nn.Module, inputs: Tensor, *, output_layer: bool = False) -> UnitLayers:
    """Find the layers whose units' statistics can be set.

    Those are linear layers, convolutions, embeddings and normalisations with an affine part, whatever module holds
    them. Left out, with a reason, are: layers read by BatchNorm alone, which undoes any scale and shift; the layers
    that make the network's output; what is used twice, or shares its weight; and what is not called as a module.

    Parameters
    ----------
    network : nn.Module
        A private copy in eval mode; its parameters are set to require gradients, by which layers are traced.
    inputs : Tensor
        A few examples as the network takes them.
    output_layer : bool
        Whether layers that make the network's output count too.
    """
    look = _Look()
    named = {module: name for name, module in reversed(list(network.named_modules(remove_duplicate=False)))}
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    handles = [module.register_forward_hook(look.hook, with_kwargs=True) for module in named]
    with torch.enable_grad():
        output = outputs_tensor(network(inputs))
    for handle in handles:
        handle.remove()
    network.requires_grad_(False)
    _refuse_shared_statistics(named, look.calls)
    last = {} if output_layer else _output_layers(output, look.calls)
    reasons = _reasons(network, named, look.calls, _readers(output)) | {module: "makes the output" for module in last}
    order = list(dict.fromkeys(call.module for call in look.calls))
    names = _state_names(network)
    layers = tuple(
        _layer(module, named[module], names, module not in reasons)
        for module in order
        if module not in reasons or _has_statistics(module)
    )
    left = {named[module]: reason for module, reason in reasons.items()}
    return UnitLayers(layers, dict(sorted(left.items())), look.values // len(inputs))


def _refuse_shared_statistics(named: Mapping[nn.Module, str], calls: list[_Call]) -> None:
    uses = Counter(call.module for call in calls if _has_statistics(call.module))
    for module, count in uses.items():
        if count > 1:
            raise ArchitectureError(
                f"BatchNorm {named[module]!r} is used {count} times in one pass: REPAIR has no statistics that fit "
                "every use. Reset BatchNorm instead (--recalibrate, or recalibrate= in Python)."
            )


def first_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what a module was called with."""
    return args[0] if args else next(iter(kwargs.values()), None)


def _layer(module: nn.Module, name: str, names: Mapping[int, tuple[str, ...]], corrected: bool) -> UnitLayer:
    own = {**module._parameters, **module._buffers}
    tensors = {key: names[id(value)] for key, value in own.items() if value is not None and id(value) in names}
    affine = "weight" in tensors
    groups = int(getattr(module, "groups", 1))
    kind = _kind(module)
    assert kind is not None
    return UnitLayer(name, _UNIT_AXIS[kind], tensors, kind, groups, _has_statistics(module), corrected and affine)


def _state_names(network: nn.Module) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for name, value in network.state_dict(keep_vars=True).items():
        found[id(value)] = (*found.get(id(value), ()), name)
    return found


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """Return the layer of the table that this is: a subclass counts while it computes the same."""
    return next((k for k in type(module).__mro__ if k in _UNIT_AXIS and type(module).forward is k.forward), None)


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def _reasons(
    network: nn.Module, named: Mapping[nn.Module, str], calls: list[_Call], readers: Mapping[Any, int]
) -> dict[nn.Module, str]:
    """Map every module with parameters of its own that stays as it is to the reason."""
    owners: dict[int, list[nn.Module]] = {}
    for module in named:
        for parameter in module._parameters.values():
            owners.setdefault(id(parameter), []).append(module)
    normalized = {call.read: call.module for call in calls if _has_statistics(call.module) and readers[call.read] == 1}
    found: dict[nn.Module, str] = {}
    for module in named:
        if any(parameter is not None for parameter in module._parameters.values()) or hasattr(module, "weight"):
            used = [call for call in calls if call.module is module]
            if reason := _reason(module, used, normalized, owners, named):
                found[module] = reason
    return found


def _reason(
    module: nn.Module,
    used: list[_Call],
    normalized: Mapping[Any, nn.Module],
    owners: Mapping[int, list[nn.Module]],
    named: Mapping[nn.Module, str],
) -> str | None:
    if _kind(module) is None:
        return f"{type(module).__name__} is no layer whose units are known"
    if not isinstance(module._parameters.get("weight"), nn.Parameter):
        return "has no weight" if getattr(module, "weight", None) is None else "its weight is computed from others"
    own = [parameter for parameter in module._parameters.values() if parameter is not None]
    others = {named[other] for parameter in own for other in owners[id(parameter)] if other is not module}
    if others:
        return f"shares its weight with {', '.join(sorted(others))}"
    if len(used) != 1:
        return f"used {len(used)} times in one pass" if used else "never called as a module"
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) != 1:
        return "normalises over several dimensions"
    if isinstance(module, _BatchNorm) and not _has_statistics(module):
        return "takes its statistics from the batch"
    if used[0].made in normalized and used[0].made is not None:
        return f"read by BatchNorm {named[normalized[used[0].made]]}, which undoes scale and shift"
    return None


def _output_layers(output: Tensor, calls: list[_Call]) -> set[nn.Module]:
    """Return the modules from which a way leads to the output that meets no other of them."""
    makers = {call.made: call.module for call in calls if call.made is not None}
    if output.grad_fn is None:
        return {calls[-1].module} if calls else set()
    return {makers[node] for node in _upstream(output.grad_fn, makers) if node in makers}


def _readers(output: Tensor) -> Mapping[Any, int]:
    """Count what reads each node of the graph that leads to the output."""
    nodes = list(_upstream(output.grad_fn, {})) if output.grad_fn is not None else []
    return Counter(before for node in nodes for before, _ in node.next_functions)


def _upstream(root: Any, stops: Mapping[Any, Any]) -> Iterator[Any]:
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        yield node
        if node not in stops:
            fresh = {before for before, _ in node.next_functions if before is not None} - seen
            seen |= fresh
            stack += fresh
