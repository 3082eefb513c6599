"""Small networks at all points at once: the batch holds every example once for each point.

The layers that read the network's input turn n examples into points x n rows; from there on every layer with weights
takes each point's rows with that point's weights, and everything else works on rows as it always does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc.evaluation.affine import SharedLayer
from lmc.evaluation.trace import Trace, is_plain


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

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__(len(layers))
        self.weight = torch.stack([layer.weight.detach().T for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.stack(biases)[:, None] if biases else None

    def apart(self, x: Tensor) -> Tensor:
        """See :meth:`AbstractStacked.apart`."""
        rows = x.flatten(1, -2)
        y = rows @ self.weight if self.bias is None else torch.baddbmm(self.bias, rows, self.weight)
        return y.unflatten(1, x.shape[1:-1])


class StackedBatchNorm(AbstractStacked):
    """``nn.BatchNorm`` of every point, with its running statistics."""

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__(len(layers))
        scales, shifts = zip(*map(_scale_shift, layers), strict=True)
        self.scale, self.shift = torch.stack(scales)[:, None], torch.stack(shifts)[:, None]

    def apart(self, x: Tensor) -> Tensor:
        """See :meth:`AbstractStacked.apart`."""
        shape = (*self.scale.shape, *[1] * (x.ndim - 3))
        return torch.addcmul(self.shift.view(shape), x, self.scale.view(shape))


class StackedLayerNorm(AbstractStacked):
    """``nn.LayerNorm`` of every point."""

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        super().__init__(len(layers))
        self.shape, self.eps = layers[0].normalized_shape, layers[0].eps
        self.weight = _stack_or_none([layer.weight for layer in layers])
        self.bias = _stack_or_none([layer.bias for layer in layers])

    def apart(self, x: Tensor) -> Tensor:
        """See :meth:`AbstractStacked.apart`."""
        x = F.layer_norm(x, self.shape, None, None, self.eps)
        view = (len(x), *[1] * (x.ndim - 1 - len(self.shape)), *self.shape)
        x = x if self.weight is None else x * self.weight.view(view)
        return x if self.bias is None else x + self.bias.view(view)


class StackedFirst(nn.Module):
    """A layer that reads the network's input, computed where it has to be and combined for every point."""

    def __init__(self, shared: SharedLayer) -> None:
        super().__init__()
        self.shared = shared

    def forward(self, inputs: Tensor) -> Tensor:
        """Map n examples to rows (points * n, ...)."""
        return self.shared.stacked(inputs).flatten(0, 1)


STACKED: dict[type, Callable[[Sequence], AbstractStacked]] = {
    nn.Linear: StackedLinear,
    nn.BatchNorm1d: StackedBatchNorm,
    nn.LayerNorm: StackedLayerNorm,
}

_MOST_WEIGHTS = 2**18
"""Of the layers behind the first, at one point: above it a point's own products fill the machine."""


def stackable(network: nn.Module, seen: Trace) -> bool:
    """Say whether a network can be stacked, and would be faster: small, of layers that are known.

    Whether the stacked network gives the same numbers has to be tried all the same: it may mix examples.
    """
    layers = {name: layer for name, layer in network.named_modules() if _holds(layer)}
    behind = {name: layer for name, layer in layers.items() if name not in seen.first}
    weights = sum(tensor.numel() for layer in behind.values() for tensor in layer.parameters(recurse=False))
    known = all(is_plain(layer, tuple(STACKED)) for layer in behind.values())
    norms = all(layer.running_mean is not None for layer in layers.values() if isinstance(layer, nn.BatchNorm1d))
    return bool(seen.first) and known and norms and all(map(seen.calls.get, layers)) and weights <= _MOST_WEIGHTS


def stack(networks: Sequence[nn.Module], shared: Mapping[str, SharedLayer]) -> nn.Module:
    """Return one network for all points.

    Parameters
    ----------
    networks : sequence of nn.Module
        One for each point, stackable and in eval mode; the first is changed and returned.
    shared : mapping of str to SharedLayer
        Every layer that reads the network's input.

    Returns
    -------
    nn.Module
        From n examples to rows (points * n, ...), all examples of the first point in front.
    """
    network = networks[0]
    replaced: dict[int, nn.Module] = {}
    for name, layer in network.named_modules():
        if name in shared:
            replaced[id(layer)] = StackedFirst(shared[name])
        elif _holds(layer):
            replaced[id(layer)] = STACKED[type(layer)]([one.get_submodule(name) for one in networks])
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        if id(layer) in replaced:
            if not name:
                return replaced[id(layer)]
            network.set_submodule(name, replaced[id(layer)])
    return network


def _holds(layer: nn.Module) -> bool:
    """Say whether a module has tensors of its own, beside those of its children."""
    own = [*layer._parameters.values(), *layer._buffers.values()]
    return any(tensor is not None for tensor in own)


def _scale_shift(layer: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    assert layer.running_mean is not None and layer.running_var is not None
    scale = torch.rsqrt(layer.running_var + layer.eps)
    scale = scale if layer.weight is None else scale * layer.weight.detach()
    shift = -layer.running_mean * scale
    return scale, shift if layer.bias is None else shift + layer.bias.detach()


def _stack_or_none(tensors: Sequence[Tensor | None]) -> Tensor | None:
    found = [tensor.detach() for tensor in tensors if tensor is not None]
    return torch.stack(found) if found else None
