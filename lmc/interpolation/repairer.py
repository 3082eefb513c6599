"""How REPAIR works on one network: measuring units, and correcting layer after layer in the order they run.

Correcting a layer changes what the next ones read. Where all examples fit in memory as one batch, each layer's output
is measured and corrected while that batch passes, so that one pass does all; where they do not, each layer takes a
pass that ends there. Both give the same weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmc._errors import ArchitectureError, DatasetError
from lmc._types import StateDict
from lmc.datasets import AbstractData, Normalization
from lmc.evaluation.engine import load_copy
from lmc.evaluation.inputs import network_inputs, resolve_device
from lmc.interpolation.moments import Moments, MomentSums
from lmc.interpolation.unit_layers import UnitLayer, UnitLayers, find_unit_layers, first_input

Statistics: TypeAlias = Mapping[str, Moments]
"""Names of layers to the statistics of their outputs."""

DEAD = 1e-5
"""A unit whose standard deviation is less than this share of its mean, or of what it should be, cannot be scaled."""

_HELD = 4
"""Tensors of the largest size that are alive at once: a layer's input and output, a skip, the corrected output."""


def between(a: Statistics, b: Statistics, t: float) -> dict[str, Moments]:
    """Return the statistics at ``t`` between two ends, layer by layer."""
    return {name: moments.between(b[name], t) for name, moments in a.items()}


class _Reached(Exception):
    """A layer has been measured; what comes after it is not needed."""


@dataclass(frozen=True)
class _Correction:
    """What one layer gets: new tensors, by which its outputs become ``scale`` times what they were plus ``shift``."""

    tensors: Mapping[str, Tensor]
    scale: Tensor
    shift: Tensor
    result: Moments

    def apply(self, output: Tensor, axis: int) -> Tensor:
        """Return the corrected output, from the one with the old tensors."""
        if bool((self.scale == 1).all() and (self.shift == 0).all()):
            return output
        along = [1] * output.dim()
        along[axis] = -1
        scale, shift = (value.to(output).view(along) for value in (self.scale, self.shift))
        return torch.addcmul(shift, output, scale)


@dataclass(frozen=True)
class Repairer:
    """One network and one set of data, for any number of states.

    Parameters
    ----------
    module, data, batch_size, memory, output_layer, device, dtype
        As in :func:`lmc.interpolation.repair.repair`.
    """

    module: nn.Module
    data: AbstractData
    batch_size: int
    memory: int
    output_layer: bool
    device: str | torch.device
    dtype: torch.dtype

    @cached_property
    def found(self) -> UnitLayers:
        """The layers with units, in the order in which the network runs them."""
        place = resolve_device(self.device, self.dtype)
        inputs = next(iter(self.data.batches(2)))[0][:2]
        network = load_copy(self.module, self.module.state_dict(), place, self.dtype).eval()
        look = network_inputs(inputs, self.data.normalization, place, self.dtype)
        return find_unit_layers(network, look, output_layer=self.output_layer)

    @cached_property
    def in_one_batch(self) -> bool:
        """Whether all examples fit in memory at once."""
        size = self.data.size if self.data.in_memory else None
        return size is not None and _HELD * size * self.found.values * self.dtype.itemsize <= self.memory

    @torch.no_grad()
    def end(self, state: StateDict, normalization: Normalization | None) -> tuple[Statistics, Mapping[str, Tensor]]:
        """Return the statistics of an end with BatchNorm reset, and the buffers that the reset gave it."""
        if not any(layer.normalizes for layer in self.found.layers):
            return self.measured(state, normalization), {}
        if self.in_one_batch:
            found = self._run(self.found.layers, state, normalization, {})
            return {name: new.result for name, new in found.items()}, _tensors(found)
        resets = [layer for layer in self.found.layers if layer.normalizes]
        changed = _tensors(self._run(resets, state, normalization, {}))
        return self.measured(dict(state) | changed, normalization), changed

    @torch.no_grad()
    def corrected(self, state: StateDict, normalization: Normalization | None, target: Statistics) -> dict[str, Tensor]:
        """Return the state with BatchNorm reset and the statistics asked for."""
        layers = [layer for layer in self.found.layers if layer.normalizes or layer.corrected]
        return dict(state) | _tensors(self._run(layers, state, normalization, target))

    @torch.no_grad()
    def measured(self, state: StateDict, normalization: Normalization | None) -> Statistics:
        """Measure the outputs of all layers in one pass, with every tensor as it is."""
        network = self._network(state)
        sums = {layer.name: MomentSums() for layer in self.found.layers}
        for layer in self.found.layers:

            def add(module: nn.Module, args: Any, output: Tensor, layer: UnitLayer = layer) -> None:
                sums[layer.name].add(output, layer.axis)

            network.get_submodule(layer.name).register_forward_hook(add)
        for inputs in self._batches(normalization, self.batch_size) if sums else ():
            network(inputs)
        return {name: self._checked(name, total) for name, total in sums.items()}

    def _run(
        self, layers: Sequence[UnitLayer], state: StateDict, normalization: Normalization | None, target: Statistics
    ) -> dict[str, _Correction]:
        """Correct layers; one without a target is measured, and reset where it is a BatchNorm."""
        if not layers:
            return {}
        run = self._all_at_once if self.in_one_batch else self._one_by_one
        found = run(layers, state, normalization, target)
        if missing := [layer.name for layer in layers if layer.name not in found]:
            raise DatasetError(f"Layer {missing[0]!r} saw nothing of {self.data.name!r}: it cannot be repaired.")
        return found

    def _all_at_once(
        self, layers: Sequence[UnitLayer], state: StateDict, normalization: Normalization | None, target: Statistics
    ) -> dict[str, _Correction]:
        """Correct every layer's output while the one batch passes, before the next layer reads it."""
        network, done = self._network(state), dict[str, _Correction]()
        for layer in layers:

            def correct(module: nn.Module, args: Any, kwargs: Any, output: Tensor, layer: UnitLayer = layer) -> Tensor:
                if layer.name in done:
                    raise ArchitectureError(f"Layer {layer.name!r} is used a second time for some of the examples.")
                values, sums = first_input(args, kwargs) if layer.normalizes else output, MomentSums()
                sums.add(values, layer.axis)
                new = _correction(layer, module, state, self._checked(layer.name, sums), target.get(layer.name))
                done[layer.name] = new
                if not layer.normalizes:
                    return new.apply(output, layer.axis)
                _load(module, layer, new)
                return type(module).forward(module, values)

            network.get_submodule(layer.name).register_forward_hook(correct, with_kwargs=True)
        for inputs in self._batches(normalization, self.data.size or 1):
            network(inputs)
        return done

    def _one_by_one(
        self, layers: Sequence[UnitLayer], state: StateDict, normalization: Normalization | None, target: Statistics
    ) -> dict[str, _Correction]:
        """Measure and correct one layer after the other, a pass each, which ends there."""
        network, done = self._network(state), dict[str, _Correction]()
        for layer in layers:
            sums, module = MomentSums(), network.get_submodule(layer.name)

            def add(_: nn.Module, args: Any, kwargs: Any, output: Tensor, layer=layer, sums=sums) -> None:
                sums.add(first_input(args, kwargs) if layer.normalizes else output, layer.axis)
                raise _Reached

            handle = module.register_forward_hook(add, with_kwargs=True)
            for inputs in self._batches(normalization, self.batch_size):
                with contextlib.suppress(_Reached):
                    network(inputs)
            handle.remove()
            seen = self._checked(layer.name, sums)
            done[layer.name] = _correction(layer, module, state, seen, target.get(layer.name))
            _load(module, layer, done[layer.name])
        return done

    def _network(self, state: StateDict) -> nn.Module:
        return load_copy(self.module, state, resolve_device(self.device, self.dtype), self.dtype).eval()

    def _batches(self, normalization: Normalization | None, size: int) -> Iterator[Tensor]:
        place = resolve_device(self.device, self.dtype)
        for inputs, _ in self.data.batches(size):
            yield network_inputs(inputs, normalization, place, self.dtype)

    def _checked(self, name: str, sums: MomentSums) -> Moments:
        if not sums.count:
            raise DatasetError(f"Layer {name!r} saw nothing of {self.data.name!r}: it cannot be repaired.")
        found = sums.moments
        if not (found.mean.isfinite().all() and found.std.isfinite().all()):
            raise DatasetError(
                f"Statistics of layer {name!r} on {self.data.name!r} are not finite: check the weights and the inputs."
            )
        return found


def _correction(
    layer: UnitLayer, module: nn.Module, state: StateDict, seen: Moments, target: Moments | None
) -> _Correction:
    """Return what a layer gets, from the statistics of its outputs, of its inputs where it is a BatchNorm."""
    tensors: dict[str, Tensor] = {}
    if layer.normalizes:
        if seen.count < 2:
            raise DatasetError(f"BatchNorm {layer.name!r} saw one value of each unit: two or more have a variance.")
        variance = seen.std.square() * (seen.count / (seen.count - 1))
        buffers = {"running_mean": seen.mean, "running_var": variance, "num_batches_tracked": torch.ones(())}
        tensors |= layer.placed(state, {name: value for name, value in buffers.items() if name in layer.tensors})
        seen = _normalized(layer, module, state, seen, variance)
    scale, shift = torch.ones_like(seen.mean), torch.zeros_like(seen.mean)
    if layer.corrected and target is not None:
        scale, shift = _scale_and_shift(seen, target, layer.shifts)
        tensors |= layer.folded(state, scale, shift)
    return _Correction(tensors, scale, shift, seen.mapped(scale, shift))


def _normalized(layer: UnitLayer, module: nn.Module, state: StateDict, seen: Moments, variance: Tensor) -> Moments:
    """Return the statistics of a BatchNorm's outputs, from those of its inputs, which it now holds."""
    own = {name: state[names[0]].to("cpu", torch.float64) for name, names in layer.tensors.items()}
    weight, bias = own.get("weight", torch.ones_like(variance)), own.get("bias", torch.zeros_like(variance))
    assert isinstance(module, _BatchNorm)
    return Moments(bias, weight.abs() * seen.std / (variance + module.eps).sqrt(), seen.count)


def _tensors(found: Mapping[str, _Correction]) -> dict[str, Tensor]:
    """Return the new tensors of all layers."""
    return {name: value for new in found.values() for name, value in new.tensors.items()}


def _scale_and_shift(seen: Moments, target: Moments, shifts: bool) -> tuple[Tensor, Tensor]:
    alive = seen.std > DEAD * torch.maximum(seen.mean.abs(), target.std)
    scale = torch.where(alive, target.std / torch.where(alive, seen.std, 1.0), 1.0)
    return scale, target.mean - scale * seen.mean if shifts else torch.zeros_like(scale)


def _load(module: nn.Module, layer: UnitLayer, new: _Correction) -> None:
    """Write a layer's new tensors into the private copy."""
    for own, names in layer.tensors.items():
        if names[0] in new.tensors:
            getattr(module, own).copy_(new.tensors[names[0]])
