"""Small networks at all points at once: the batch holds every example once for each point.

The layers that read the network's input turn n examples into points x n rows; from there on every layer with weights
takes each point's rows with that point's weights, and everything else works on rows as it always does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc.evaluation.affine import SharedLayer
from lmc.evaluation.trace import Trace, is_plain

Weights = Mapping[str, Tensor]
"""Parameter and buffer names of one layer to the values of every point, shape (points, ...)."""


class AbstractStacked(nn.Module):
    """A layer with the weights of every point."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.points = points

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (points * n, ...) to rows (points * n, ...)."""
        return self.apart(rows.unflatten(0, (self.points, -1))).flatten(0, 1)

    @abstractmethod
    def apart(self, x: Tensor) -> Tensor:
        """Map (points, n, ...) to (points, n, ...)."""


class StackedLinear(AbstractStacked):
    """``nn.Linear`` of every point, as one batched product."""

    def __init__(self, layer: nn.Linear, weights: Weights) -> None:
        super().__init__(len(weights["weight"]))
        self.weight = weights["weight"].mT.contiguous()
        self.bias = weights["bias"][:, None] if "bias" in weights else None

    def apart(self, x: Tensor) -> Tensor:
        """See :meth:`AbstractStacked.apart`."""
        rows = x.flatten(1, -2)
        y = rows @ self.weight if self.bias is None else torch.baddbmm(self.bias, rows, self.weight)
        return y.unflatten(1, x.shape[1:-1])


class StackedBatchNorm(AbstractStacked):
    """``nn.BatchNorm1d`` of every point, with its running statistics."""

    def __init__(self, layer: nn.BatchNorm1d, weights: Weights) -> None:
        super().__init__(len(weights["running_var"]))
        scale = torch.rsqrt(weights["running_var"] + layer.eps) * weights.get("weight", 1)
        self.scale = scale[:, None]
        self.shift = (weights.get("bias", 0) - weights["running_mean"] * scale)[:, None]

    def apart(self, x: Tensor) -> Tensor:
        """See :meth:`AbstractStacked.apart`."""
        shape = (*self.scale.shape, *[1] * (x.ndim - 3))
        return torch.addcmul(self.shift.view(shape), x, self.scale.view(shape))


class StackedLayerNorm(AbstractStacked):
    """``nn.LayerNorm`` of every point."""

    def __init__(self, layer: nn.LayerNorm, weights: Weights) -> None:
        super().__init__(len(weights["weight"]))
        self.shape, self.eps = layer.normalized_shape, layer.eps
        self.weight, self.bias = weights["weight"], weights.get("bias")

    def apart(self, x: Tensor) -> Tensor:
        """See :meth:`AbstractStacked.apart`."""
        x = F.layer_norm(x, self.shape, None, None, self.eps)
        view = (len(x), *[1] * (x.ndim - 1 - len(self.shape)), *self.shape)
        return x * self.weight.view(view) + (0 if self.bias is None else self.bias.view(view))


class StackedFirst(nn.Module):
    """A layer that reads the network's input, computed where it has to be and combined for every point."""

    def __init__(self, shared: SharedLayer, points: slice) -> None:
        super().__init__()
        self.shared, self.points = shared, points

    def forward(self, inputs: Tensor) -> Tensor:
        """Map n examples to rows (points * n, ...)."""
        return self.shared.stacked(self.points, inputs).flatten(0, 1)


STACKED: Mapping[type, Callable[..., AbstractStacked]] = {
    nn.Linear: StackedLinear,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.LayerNorm: StackedLayerNorm,
}

_MOST_WEIGHTS = 2**15
"""Of the layers behind the first, at one point: above it a point's own products fill the machine."""


def stackable(network: nn.Module, seen: Trace) -> bool:
    """Say whether a network can be stacked, and would be faster: small, of layers that are known.

    Whether the stacked network gives the same numbers has to be tried all the same: it may mix examples.
    """
    layers = {name: layer for name, layer in network.named_modules() if holds_tensors(layer)}
    behind = {name: layer for name, layer in layers.items() if name not in seen.first}
    weights = sum(tensor.numel() for layer in behind.values() for tensor in layer.parameters(recurse=False))
    known = all(is_plain(layer, tuple(STACKED)) for layer in behind.values())
    norms = all(layer.running_mean is not None for layer in layers.values() if isinstance(layer, nn.BatchNorm1d))
    return bool(seen.first) and known and norms and all(map(seen.calls.get, layers)) and weights <= _MOST_WEIGHTS


def stack(
    network: nn.Module, points: slice, shared: Mapping[str, SharedLayer], values: Callable[[str], Tensor]
) -> nn.Module:
    """Return one network for several points.

    Parameters
    ----------
    network : nn.Module
        Stackable and in eval mode; it is changed.
    points : slice
        Of all that the shared layers know.
    shared : mapping of str to SharedLayer
        Every layer that reads the network's input.
    values : callable
        From the name of a parameter or buffer to its values at these points, shape (points, ...).

    Returns
    -------
    nn.Module
        From n examples to rows (points * n, ...), all examples of the first point in front.
    """
    replaced: dict[int, nn.Module] = {}
    for name, layer in network.named_modules():
        if name in shared:
            replaced[id(layer)] = StackedFirst(shared[name], points)
        elif holds_tensors(layer):
            own = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
            weights = {key: values(f"{name}.{key}") for key, tensor in own if tensor.is_floating_point()}
            replaced[id(layer)] = STACKED[type(layer)](layer, weights)
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        if id(layer) in replaced:
            if not name:
                return replaced[id(layer)]
            network.set_submodule(name, replaced[id(layer)])
    return network


def holds_tensors(layer: nn.Module) -> bool:
    """Say whether a module has tensors of its own, beside those of its children."""
    own = [*layer._parameters.values(), *layer._buffers.values()]
    return any(tensor is not None for tensor in own)
