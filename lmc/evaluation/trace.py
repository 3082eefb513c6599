"""What one forward pass shows of a network: which layers read its input, what follows what, how large it gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LINEAR_MAPS = (nn.Linear, *CONVOLUTIONS)
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Trace:
    """Layers by name, as one forward pass met them.

    Parameters
    ----------
    first : tuple of str
        Linear maps that read the network's input itself (or a view of it), once: what they compute is linear in their
        own weights and bias.
    folds : mapping of str to str
        Linear maps, and the BatchNorm that takes what they give, each run once. Something else may take it as well:
        whoever folds has to compare outputs.
    calls : mapping of str to int
        How often each layer without children ran.
    largest : int
        Elements, for each example, of the largest tensor that a layer gave.
    taken : int
        Elements of an example.
    """

    first: tuple[str, ...]
    folds: Mapping[str, str]
    calls: Mapping[str, int]
    largest: int
    taken: int


def is_plain(layer: nn.Module, kinds: tuple[type, ...]) -> bool:
    """Say whether a layer is exactly one of these, with nothing hooked onto it or put in the place of its weights."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks)
    return type(layer) in kinds and not any(hooks) and "forward" not in layer.__dict__ and not list(layer.children())


def trace(network: nn.Module, inputs: Tensor) -> Trace:
    """Run a network once and watch its layers.

    Parameters
    ----------
    network : nn.Module
        In eval mode; hooks are taken off again.
    inputs : Tensor, shape (n, ...)
        A few examples.
    """
    watch = _Watch(inputs)
    layers = {name: layer for name, layer in network.named_modules() if not any(layer.children())}
    plain = {name for name, layer in layers.items() if is_plain(layer, (*LINEAR_MAPS, *BATCHNORMS))}
    handles = [layer.register_forward_hook(watch.hook(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    once = {name for name in plain if watch.calls[name] == 1}
    maps = {name for name in once if isinstance(layers[name], LINEAR_MAPS)}
    norms = {name for name in once - maps if layers[name].running_mean is not None}
    producers = {id(watch.outputs[name]): name for name in maps}
    folds = {producers[key]: name for name in norms if (key := id(watch.inputs[name])) in producers}
    return Trace(
        tuple(n for n in maps if watch.reads_input(n)),
        folds,
        dict(watch.calls),
        watch.largest,
        inputs.numel() // len(inputs),
    )


@dataclass
class _Watch:
    source: Tensor
    largest: int = 1
    calls: Counter[str] = field(default_factory=Counter)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    """Kept, so that no later tensor takes the place of an earlier one in memory."""

    def hook(self, name: str) -> Any:
        def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.calls[name] += 1
            if inputs and isinstance(inputs[0], Tensor):
                self.inputs[name] = inputs[0]
            if isinstance(output, Tensor):
                self.outputs[name] = output
                self.largest = max(self.largest, output.numel() // len(self.source))

        return note

    def reads_input(self, name: str) -> bool:
        found = self.inputs.get(name)
        if found is None or found.data_ptr() != self.source.data_ptr():
            return False
        return found.numel() == self.source.numel() and found.dtype == self.source.dtype
