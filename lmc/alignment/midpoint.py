"""The loss between A and an aligned B on training data, as learned methods descend it and as they report it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmc._errors import InputError, UsageError
from lmc._types import StateDict
from lmc.datasets import AbstractData, Data
from lmc.evaluation.engine import check_fits
from lmc.evaluation.inputs import network_inputs
from lmc.evaluation.losses import outputs_tensor, resolve_loss


def require_data(
    method: str, data: AbstractData | None, module: nn.Module | None, *states: StateDict
) -> tuple[AbstractData, nn.Module]:
    """Return data and network, the states held against it, or raise UsageError that says what the method lacks."""
    if data is None or module is None:
        lacks = " and ".join(name for name, given in (("data=", data), ("module=", module)) if given is None)
        raise UsageError(
            f"Alignment {method!r} learns from the loss of the network on training data: pass {lacks} to lmc.align. "
            "Without data there are 'weights', 'frank-wolfe' and 'sinkhorn?cost=distance'."
        )
    for state in states:
        check_fits(module, state)
    return data, module


class Between:
    """A network between A and whatever B is made into; nothing of the caller's is written to.

    BatchNorm uses the statistics of the batch at hand: those of the ends, averaged, belong to no network. Everything
    else is in eval mode.

    Parameters
    ----------
    module : nn.Module
        The network, copied.
    a : state dict
        The end that stays.
    data : AbstractData
        The training split.
    batch_size : int
        Examples in a step.
    seed : int
        Of the order of the examples.
    examples : int
        The first so many are what :meth:`loss` is measured on.
    """

    def __init__(
        self, module: nn.Module, a: StateDict, data: AbstractData, batch_size: int, seed: int, examples: int
    ) -> None:
        floating = [tensor for tensor in a.values() if tensor.is_floating_point()]
        self.device = floating[0].device
        self.a = {name: _wide(tensor) for name, tensor in a.items()}
        self._network = copy.deepcopy(module).to(self.device, torch.float32).requires_grad_(False).eval()
        for layer in self._network.modules():
            if isinstance(layer, _BatchNorm):
                layer.train()
                layer.track_running_stats = False
        self._data, self._batch_size = data, batch_size
        self._criterion = resolve_loss(None, data.task)
        self._generator = torch.Generator().manual_seed(seed)
        self._held = list(_first(data, examples, batch_size))
        self._channels_last = False
        self._channels_last = self._takes_channels_last()

    @torch.no_grad()
    def _takes_channels_last(self) -> bool:
        """Try: convolutions and pooling are up to twice as fast so, but a ``view`` of their outputs may refuse."""
        if not self._held or not any(isinstance(layer, nn.Conv2d) for layer in self._network.modules()):
            return False
        inputs = self._held[0][0][:2]
        fed = network_inputs(inputs, self._data.normalization, self.device, torch.float32)
        if fed.dim() != 4:
            return False
        try:
            torch.func.functional_call(self._network, self.a, (fed.to(memory_format=torch.channels_last),))
        except RuntimeError:
            return False
        return True

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches for ever: in random order where the examples are in memory, else as they stream."""
        size = self._data.size
        while True:
            if isinstance(self._data, Data) and size is not None:
                for chosen in torch.randperm(size, generator=self._generator).split(self._batch_size):
                    if len(chosen) > 1 or 1 in (size, self._batch_size):
                        yield self._data.inputs[chosen], self._data.targets[chosen]
            else:
                yield from self._data.batches(self._batch_size)

    def losses(self, b: StateDict, inputs: Tensor, targets: Tensor, t: float = 0.5) -> Tensor:
        """Return the loss of each example at a position between A and B; gradients flow into B."""
        state = _line(self.a, b, t)
        fed = network_inputs(inputs, self._data.normalization, self.device, torch.float32)
        if self._channels_last:
            fed = fed.to(memory_format=torch.channels_last)
        outputs = outputs_tensor(torch.func.functional_call(self._network, state, (fed,)))
        return self._criterion(outputs, targets.to(self.device))

    @torch.no_grad()
    def loss(self, b: StateDict, t: float = 0.5) -> float:
        """Return the mean loss over the held examples, in float64."""
        total = sum(float(self.losses(b, *batch, t).double().sum()) for batch in self._held)
        return finite(total / sum(len(inputs) for inputs, _ in self._held))

    @property
    def examples(self) -> int:
        """How many examples :meth:`loss` is the mean of."""
        return sum(len(inputs) for inputs, _ in self._held)


def finite(loss: float) -> float:
    """Return the loss, or raise InputError where it is no number."""
    if not abs(loss) < float("inf"):
        raise InputError(
            f"The loss between A and B is {loss} on the alignment data: check the weights and the normalisation of the "
            "inputs, or lower lr."
        )
    return loss


def widened(state: StateDict) -> dict[str, Tensor]:
    """Return a state dict to compute with: floating tensors in float32, ties kept."""
    done: dict[int, Tensor] = {}
    return {name: done.setdefault(tensor.data_ptr() or id(tensor), _wide(tensor)) for name, tensor in state.items()}


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32) if tensor.is_floating_point() else tensor.detach()


def _line(a: StateDict, b: StateDict, t: float) -> dict[str, Tensor]:
    """Return the state at a position; what is tied in B is tied there."""
    done: dict[int, Tensor] = {}
    state = {}
    for name, tensor in b.items():
        if id(tensor) not in done:
            floating = tensor.is_floating_point()
            done[id(tensor)] = torch.lerp(a[name], tensor, t) if floating else tensor
        state[name] = done[id(tensor)]
    return state


def _first(data: AbstractData, examples: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the first examples, in batches as large as those of a step."""
    for inputs, targets in data.batches(batch_size):
        yield inputs[:examples], targets[:examples]
        examples -= len(inputs)
        if examples <= 0:
            return
