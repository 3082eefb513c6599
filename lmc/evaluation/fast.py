"""The engine that is used by default: the numbers of one copy for each point, with less work.

What it changes, each where it applies: the layers that read the input are computed at the ends of a line (or three
corners of a plane) and combined, since they are linear in their weights; BatchNorm behind a convolution is folded into
it; convolutions work channels last; small networks run at all points at once. None of that is trusted: on a few
examples the result must equal that of plain copies, or the next simpler way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.overrides import TorchFunctionMode

from lmc._types import StateDict
from lmc.evaluation.affine import AtPoint, SharedLayer, affine_span
from lmc.evaluation.engine import AbstractEngine, CopyEngine, Prepared, batch_size, load_copy
from lmc.evaluation.losses import outputs_tensor
from lmc.evaluation.products import FastLinear, by_product, kernel
from lmc.evaluation.stacked import stack, stackable
from lmc.evaluation.trace import CONVOLUTIONS, Trace, is_plain, trace

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest difference from plain copies, over the largest output: rounding takes a hundredth of it."""

_WORTH_SHARING = 64
"""Inputs of each output of a layer: combining the ends' outputs costs memory traffic, which few products outweigh."""

EXAMPLES = 3
"""Tried by the check: more than one, and another number than there are channels or points."""


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
        if dtype not in _TOLERANCE:
            return CopyEngine().prepare(module, states, device, dtype, examples)
        last = len(states) - 1
        tried = sorted({0, min(1, last), last // 2, max(0, last - 1), last})
        plain = CopyEngine().prepare(module, [states[k] for k in tried], device, dtype, [examples[k] for k in tried])
        with torch.inference_mode():
            expected = list(plain.run([examples[k] for k in tried]))
        for way in _ways(module, states, device, dtype, examples):
            try:
                found = way()
                agrees = found is not None and _agree(found, examples, tried, expected)
            except Exception:  # a module is the user's own code: whatever it raises when a layer is not what it was
                continue
            if found is not None and agrees:
                return found
        return CopyEngine().prepare(module, states, device, dtype, examples)


Way = Callable[[], Prepared | None]


def _ways(
    module: nn.Module,
    states: Sequence[StateDict],
    device: torch.device,
    dtype: torch.dtype,
    examples: Sequence[Tensor],
) -> Iterator[Way]:
    """Yield ways to run the network at all these points, the fastest first."""

    def networks() -> list[nn.Module]:
        return [load_copy(module, state, device, dtype).eval() for state in states]

    one = load_copy(module, states[0], device, dtype).eval()
    seen = trace(one, examples[0])
    together = len(states) > 1 and all(x is examples[0] for x in examples)
    if together and stackable(one, seen):
        yield lambda: _stacked(networks(), seen, examples[0].device)
    layout = _layout(one, examples[0])
    yield lambda: _apart(networks(), seen, layout, together, fold=True)
    yield lambda: _apart(networks(), seen, layout, together, fold=False)


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


def _agree(found: Prepared, examples: Sequence[Tensor], tried: Sequence[int], expected: Sequence[Tensor]) -> bool:
    """Say whether a way gives what plain copies give."""
    with torch.inference_mode():
        outputs = list(found.run(examples))
    for k, wanted in zip(tried, expected, strict=True):
        if outputs[k].shape != wanted.shape or outputs[k].dtype != wanted.dtype:
            return False
        scale = float(wanted.abs().max())
        if not float((outputs[k] - wanted).abs().max()) <= _TOLERANCE[wanted.dtype] * scale:
            return False
    return len(outputs) == len(examples)


def _stacked(networks: list[nn.Module], seen: Trace, device: torch.device) -> Prepared | None:
    points, shared = len(networks), _shared(networks, seen, least=0)
    if len(shared) < len(seen.first):
        return None
    network = stack(networks, shared)

    def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return outputs_tensor(network(inputs[0])).unflatten(0, (points, -1)).unbind()

    return Prepared(run, batch_size(points * seen.largest, device), "all points at once")


def _apart(networks: list[nn.Module], seen: Trace, layout: _Layout, together: bool, *, fold: bool) -> Prepared:
    """Return one network for each point, its layers replaced by faster ones."""
    shared = _shared(networks, seen, least=_WORTH_SHARING) if together else {}
    folds = {name: norm for name, norm in seen.folds.items() if fold and name not in shared}
    for point, network in enumerate(networks):
        for name, norm in folds.items():
            _fold(network, name, norm)
        for name, layer in shared.items():
            networks[point] = network = _replace(network, name, AtPoint(layer, point))
        networks[point] = layout.network(_with_fast_products(network, seen))
    layers = ", ".join(shared)
    done = [
        f"{layers} at the ends only" if shared else "",
        "BatchNorm folded" if folds else "",
        "channels last" if layout.channels_last else "",
    ]
    how = ", ".join(filter(None, done)) or "a copy for each point"
    return Prepared(
        _Apart(networks, list(shared.values()), layout), batch_size(seen.largest, _device(networks[0])), how
    )


@dataclass(frozen=True)
class _Apart:
    """Runs one network for each point."""

    networks: Sequence[nn.Module]
    shared: Sequence[SharedLayer]
    layout: _Layout

    def __call__(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        for layer in self.shared:
            layer.forget()
        placed = {id(x): self.layout.inputs(x) for x in inputs}
        for network, x in zip(self.networks, inputs, strict=True):
            with self.layout.mode():
                outputs = outputs_tensor(network(placed[id(x)]))
            yield outputs


def _shared(networks: Sequence[nn.Module], seen: Trace, least: int) -> dict[str, SharedLayer]:
    """Return the layers that read the input, where their weights lie on a line or in a plane."""
    found = {}
    for name in seen.first:
        layers = [network.get_submodule(name) for network in networks]
        tensors = [[p.detach() for p in layer.parameters()] for layer in layers]
        if tensors[0][0][0].numel() >= least and (span := affine_span(tensors)) and len(span.basis) < len(layers):
            found[name] = SharedLayer(layers, span)
    return found


def _fold(network: nn.Module, name: str, norm: str) -> None:
    layer, batchnorm = network.get_submodule(name), network.get_submodule(norm)
    fuse: Any = fuse_conv_bn_eval if isinstance(layer, CONVOLUTIONS) else fuse_linear_bn_eval
    network.set_submodule(name, fuse(layer, batchnorm).requires_grad_(False))
    network.set_submodule(norm, nn.Identity())


def _with_fast_products(network: nn.Module, seen: Trace) -> nn.Module:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Linear) and seen.calls.get(name) == 1 and is_plain(layer, (nn.Linear,)):
            rows = batch_size(seen.largest, layer.weight.device)
            if kernel(rows, layer.in_features, layer.out_features, layer.weight) is not by_product:
                network = _replace(network, name, FastLinear(layer))
    return network


def _replace(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    if not name:
        return layer
    network.set_submodule(name, layer)
    return network


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


@dataclass(frozen=True)
class _Layout:
    """The order of images and kernels in memory."""

    channels_last: bool = False
    views: bool = False  # ``view`` copies where it has to

    def network(self, network: nn.Module) -> nn.Module:
        return network.to(memory_format=torch.channels_last) if self.channels_last else network  # type: ignore[call-overload]

    def inputs(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=torch.channels_last) if self.channels_last else inputs

    def mode(self) -> Any:
        return _ViewsCopy() if self.views else nullcontext()


class _ViewsCopy(TorchFunctionMode):
    """Takes ``reshape`` for ``view``, which refuses tensors in another order of memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.view and not isinstance(args[1], torch.dtype):
            func = torch.Tensor.reshape
        return func(*args, **(kwargs or {}))
