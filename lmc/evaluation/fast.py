"""The engine that is used by default: the numbers of one copy for each point, with less work.

What it changes, each where it applies: one network serves all points, whose weights are made once and swapped; the
layers that read the input are computed at the ends of a line (or three corners of a plane) and combined, since they
are linear in their weights; BatchNorm behind a convolution is folded into it; convolutions work channels last, and max
pooling takes the maximum of views; small networks run at all points at once. None of that is trusted: on a few
examples the result must equal that of a plain copy, or the next simpler way is taken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.overrides import TorchFunctionMode

from lmc._types import StateDict
from lmc.evaluation.affine import SharedLayer, affine_span
from lmc.evaluation.engine import AbstractEngine, CopyEngine, Prepared, batch_size, check_fits, load_copy
from lmc.evaluation.losses import outputs_tensor
from lmc.evaluation.pooling import POOLING, max_pool2d
from lmc.evaluation.products import FastLinear, by_product, kernel
from lmc.evaluation.stacked import stack, stackable
from lmc.evaluation.trace import CONVOLUTIONS, Trace, is_plain, trace

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest difference from a plain copy, over the largest output: rounding takes a hundredth of it."""

_WORTH_SHARING = 16
"""Inputs of each output of a layer: combining the ends' outputs costs memory traffic, which few products outweigh."""

EXAMPLES = 3
"""Tried by the check: more than one, so that a network that mixes examples shows."""


@dataclass(frozen=True)
class FastEngine(AbstractEngine):
    """Equal to :class:`CopyEngine` up to rounding, and faster where the network allows it."""

    def prepare(
        self,
        module: nn.Module,
        states: Sequence[StateDict],
        device: torch.device,
        dtype: torch.dtype,
        examples: Sequence[Tensor],
    ) -> Prepared:
        """See :meth:`AbstractEngine.prepare`."""
        points = _Points(module, states, device, dtype)
        if dtype in _TOLERANCE and points.plain:
            tried = sorted({0, min(1, len(states) - 1), len(states) // 2, len(states) - 1})
            expected = points.expected(tried, [examples[k] for k in tried])
            for way in _ways(points, examples):
                try:
                    found = way()
                    if found is not None and _agrees(found, tried, examples, expected):
                        return Prepared(found, found.batch_size, found.how)
                except Exception:  # a module is the user's own code: whatever it raises when a layer is not what it was
                    continue
        return CopyEngine().prepare(module, states, device, dtype, examples)


@dataclass(frozen=True)
class _Points:
    """A network and the states that it is run with."""

    module: nn.Module
    states: Sequence[StateDict]
    device: torch.device
    dtype: torch.dtype

    @property
    def plain(self) -> bool:
        """Whether a state dict is just the parameters and buffers by name, that can be set one by one."""
        own = {name for name, _ in self.module.named_parameters(remove_duplicate=False)}
        own |= {name for name, _ in self.module.named_buffers(remove_duplicate=False)}
        packed = self.device.type != "cpu" and any(isinstance(layer, nn.RNNBase) for layer in self.module.modules())
        return {*self.module.state_dict()} <= own and not packed

    @cached_property
    def _loaded(self) -> nn.Module:
        return load_copy(self.module, self.states[0], self.device, self.dtype).eval()

    def network(self) -> nn.Module:
        """Return a new copy of the network, at the first point."""
        return copy.deepcopy(self._loaded)

    def expected(self, tried: Sequence[int], examples: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs at some points in the plain way: load and run."""
        network, outputs = self.network(), []
        for k, inputs in zip(tried, examples, strict=True):
            check_fits(self.module, self.states[k])
            network.load_state_dict(dict(self.states[k]))
            with torch.inference_mode():
                outputs.append(outputs_tensor(network(inputs)).clone())
        return outputs

    def value(self, point: int, name: str) -> Tensor:
        """Return a tensor of a point, placed and in the dtype; never the caller's own."""
        tensor = self.states[point][name].detach()
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype, copy=True)

    def values(self, name: str, points: slice) -> Tensor:
        """Return a tensor of several points, shape (points, ...)."""
        return torch.stack([self.value(point, name) for point in range(points.start, points.stop)])

    def shared(self, network: nn.Module, seen: Trace, least: int) -> dict[str, SharedLayer]:
        """Return the layers that read the input, where their weights lie on a line or in a plane."""
        found = {}
        for name in seen.first:
            layer = network.get_submodule(name)
            keys = [key for key, _ in layer.named_parameters()]
            names = [f"{name}.{key}" if name else key for key in keys]
            tensors = [[self.value(point, one) for one in names] for point in range(len(self.states))]
            if tensors[0][0][0].numel() < least or (span := affine_span(tensors)) is None:
                continue
            if len(span.basis) < len(tensors):
                corners = [_with_weights(layer, dict(zip(keys, tensors[k], strict=True))) for k in span.basis]
                found[name] = SharedLayer(corners, span.coordinates)
        return found


def _with_weights(layer: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    corner = copy.deepcopy(layer)
    corner.load_state_dict(dict(weights))
    return corner


Way = Callable[[], "_Stacked | _Apart | None"]


def _ways(points: _Points, examples: Sequence[Tensor]) -> Iterator[Way]:
    """Yield ways to run the network at all these points, the fastest first."""
    one = points.network()
    seen = trace(one, examples[0])
    together = len(points.states) > 1 and all(x is examples[0] for x in examples)
    if together and stackable(one, seen):
        yield lambda: _stacked(points, seen)
    layout = _layout(one, examples[0])
    if seen.folds:
        yield lambda: _apart(points, seen, layout, together, folds=seen.folds)
    yield lambda: _apart(points, seen, layout, together, folds={})


def _agrees(
    found: _Stacked | _Apart, tried: Sequence[int], examples: Sequence[Tensor], expected: Sequence[Tensor]
) -> bool:
    """Say whether a way gives what a plain copy gives."""
    with torch.inference_mode():
        outputs = found.at(tried, examples)
    for output, wanted in zip(outputs, expected, strict=True):
        if output.shape != wanted.shape or output.dtype != wanted.dtype:
            return False
        scale = float(wanted.abs().max())
        if not float((output - wanted).abs().max()) <= _TOLERANCE[wanted.dtype] * scale:
            return False
    return True


_ROWS = 64
"""Examples that a group of points should see at a time, so that its weights are worth reading."""


@dataclass(frozen=True)
class _Stacked:
    """Runs a small network at many points at once."""

    networks: Sequence[nn.Module]
    groups: Sequence[int]  # how many points each of them stands for
    first: Sequence[SharedLayer]
    batch_size: int
    how: str = "all points at once"

    def __call__(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        for layer in self.first:
            layer.forget()
        for network, count in zip(self.networks, self.groups, strict=True):
            yield from outputs_tensor(network(inputs[0])).unflatten(0, (count, -1)).unbind()

    def at(self, tried: Sequence[int], inputs: Sequence[Tensor]) -> list[Tensor]:
        outputs = list(self(inputs))
        return [outputs[k] for k in tried]


def _stacked(points: _Points, seen: Trace) -> _Stacked | None:
    shared = points.shared(points.network(), seen, least=0)
    if len(shared) < len(seen.first):
        return None
    size = batch_size(_ROWS * seen.largest, points.device)  # points beside each other, here
    groups = [slice(k, min(k + size, len(points.states))) for k in range(0, len(points.states), size)]
    networks = [
        stack(points.network(), group, shared, lambda name, group=group: points.values(name, group)) for group in groups
    ]
    counts = [group.stop - group.start for group in groups]
    return _Stacked(networks, counts, list(shared.values()), batch_size(max(counts) * seen.largest, points.device))


@dataclass(frozen=True)
class _Apart:
    """Runs one network with the weights of one point after the other."""

    network: nn.Module
    slots: Sequence[Tensor]
    values: Sequence[Sequence[Tensor]]  # of each point, in the order of the slots
    first: Sequence[_AtPoint]
    layout: _Layout
    batch_size: int
    how: str

    def __call__(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        return iter(self._run(range(len(self.values)), inputs))

    def at(self, tried: Sequence[int], inputs: Sequence[Tensor]) -> list[Tensor]:
        return list(self._run(tried, inputs))

    def _run(self, points: Sequence[int], inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        for layer in self.first:
            layer.shared.forget()
        placed = {id(inputs[point]): self.layout.inputs(inputs[point]) for point in points}
        for point in points:
            for slot, value in zip(self.slots, self.values[point], strict=True):
                slot.data = value
            for layer in self.first:
                layer.point = point
            with self.layout.mode():
                outputs = outputs_tensor(self.network(placed[id(inputs[point])]))
            yield outputs


class _AtPoint(nn.Module):
    """Stands in the network for a layer whose outputs all points share."""

    def __init__(self, shared: SharedLayer) -> None:
        super().__init__()
        self.shared, self.point = shared, 0

    def forward(self, inputs: Tensor) -> Tensor:
        return self.shared.at(self.point, inputs)


def _apart(points: _Points, seen: Trace, layout: _Layout, together: bool, *, folds: Mapping[str, str]) -> _Apart:
    """Return one network for all points, its layers replaced by faster ones."""
    network = points.network()
    shared = points.shared(network, seen, least=_WORTH_SHARING) if together else {}
    folds = {name: norm for name, norm in folds.items() if name not in shared}
    fused = {name: _Fold.of(network, name, norm) for name, norm in folds.items()}
    first = {name: _AtPoint(layer) for name, layer in shared.items()}
    for name, layer in first.items():
        network = _replace(network, name, layer)
    size = batch_size(max(seen.largest, seen.taken), points.device)
    network = layout.network(_with_fast_products(network, seen, size))
    slots = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    kept = {name: slot for name, slot in slots.items() if name in points.states[0] or name.endswith(".bias")}
    values = [_values(points, point, kept, fused, layout) for point in range(len(points.states))]
    done = [
        f"layer {', '.join(shared)} at the ends only" if shared else "",
        "BatchNorm folded" if fused else "",
        "channels last" if layout.channels_last else "",
    ]
    how = ", ".join(filter(None, done)) or "one network, weights swapped"
    return _Apart(network, list(kept.values()), values, list(first.values()), layout, size, how)


def _values(
    points: _Points, point: int, slots: Mapping[str, Tensor], fused: Mapping[str, _Fold], layout: _Layout
) -> list[Tensor]:
    made: dict[str, Tensor] = {}
    for fold in fused.values():
        made |= fold.weights(lambda key: points.value(point, key))
    found = [made[name] if name in made else points.value(point, name) for name in slots]
    return [layout.weights(value) for value in found]


@dataclass(frozen=True)
class _Fold:
    """A linear map and the BatchNorm behind it."""

    name: str
    norm: str
    eps: float
    convolves: bool
    biased: bool
    affine: bool

    @classmethod
    def of(cls, network: nn.Module, name: str, norm: str) -> _Fold:
        """Take the BatchNorm out of a network; the map before it gets a bias."""
        layer: Any = network.get_submodule(name)
        batchnorm: Any = network.get_submodule(norm)
        fold = cls(
            name,
            norm,
            batchnorm.eps,
            isinstance(layer, CONVOLUTIONS),
            layer.bias is not None,
            batchnorm.weight is not None,
        )
        layer.bias = nn.Parameter(torch.zeros_like(batchnorm.running_mean), requires_grad=False)
        network.set_submodule(norm, nn.Identity())
        return fold

    def weights(self, value: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Return weight and bias of the map with BatchNorm in them, from the tensors of a point."""
        bias = value(f"{self.name}.bias") if self.biased else None
        affine = [value(f"{self.norm}.{key}") if self.affine else None for key in ("weight", "bias")]
        mean, variance = value(f"{self.norm}.running_mean"), value(f"{self.norm}.running_var")
        fuse: Any = fuse_conv_bn_weights if self.convolves else fuse_linear_bn_weights
        weight, shift = fuse(value(f"{self.name}.weight"), bias, mean, variance, self.eps, *affine)
        return {f"{self.name}.weight": weight.detach(), f"{self.name}.bias": shift.detach()}


def _with_fast_products(network: nn.Module, seen: Trace, rows: int) -> nn.Module:
    for name, layer in list(network.named_modules()):
        if not isinstance(layer, nn.Linear) or seen.calls.get(name) != 1 or not is_plain(layer, (nn.Linear,)):
            continue
        if kernel(rows, layer.in_features, layer.out_features, layer.weight) is not by_product:
            network = _replace(network, name, FastLinear(layer))
    return network


def _replace(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if not name:
        return layer
    network.set_submodule(name, layer)
    return network


def _layout(network: nn.Module, inputs: Tensor) -> _Layout:
    """Choose the order of memory by trying it; the network is changed."""
    images = inputs.device.type == "cpu" and inputs.dtype == torch.float32 and inputs.ndim == 4
    if not images or not any(isinstance(layer, nn.Conv2d) for layer in network.modules()):
        return _Layout()
    for layout in (_Layout(channels_last=True), _Layout(channels_last=True, views=True)):
        try:
            with torch.inference_mode(), layout.mode():
                layout.network(network)(layout.inputs(inputs))
        except RuntimeError:  # view() of a tensor in another order
            continue
        return layout
    return _Layout()


@dataclass(frozen=True)
class _Layout:
    """The order of images and kernels in memory."""

    channels_last: bool = False
    views: bool = False  # ``view`` copies where it has to

    def network(self, network: nn.Module) -> nn.Module:
        return network.to(memory_format=torch.channels_last) if self.channels_last else network  # type: ignore[call-overload]

    def inputs(self, inputs: Tensor) -> Tensor:
        return self.weights(inputs)

    def weights(self, tensor: Tensor) -> Tensor:
        images = self.channels_last and tensor.ndim == 4
        return tensor.contiguous(memory_format=torch.channels_last) if images else tensor

    def mode(self) -> Any:
        return _OtherFunctions(self.views) if self.channels_last else nullcontext()


class _OtherFunctions(TorchFunctionMode):
    """Takes faster pooling, and ``reshape`` for ``view``, which refuses tensors in another order of memory."""

    def __init__(self, views: bool) -> None:
        super().__init__()
        self.views = views

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in POOLING and (pooled := max_pool2d(*args, **kwargs)) is not None:
            return pooled
        if self.views and func is torch.Tensor.view and not isinstance(args[1], torch.dtype):
            func = torch.Tensor.reshape
        return func(*args, **kwargs)
