"""How a network's outputs are computed at several parameter points; faster ways are further engines."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lmc._errors import MismatchError
from lmc._types import StateDict
from lmc.evaluation.losses import outputs_tensor
from lmc.evaluation.trace import trace

Runner: TypeAlias = Callable[[Sequence[Tensor]], Iterable[Tensor]]
"""Inputs of every point (the same tensor where they are equal) to the outputs of every point, in order."""


@dataclass(frozen=True)
class Prepared:
    """A network ready to run at several parameter points.

    Parameters
    ----------
    run : callable
        From the inputs of every point to the outputs of every point.
    batch_size : int
        Examples to give it at a time.
    how : str
        What was done to make it fast.
    """

    run: Runner
    batch_size: int
    how: str


class AbstractEngine(ABC):
    """A way to run one network at several parameter points."""

    @abstractmethod
    def prepare(
        self,
        module: nn.Module,
        states: Sequence[StateDict],
        device: torch.device,
        dtype: torch.dtype,
        examples: Sequence[Tensor],
    ) -> Prepared:
        """Make the points ready to run, in eval mode; the module and the states are left as they are.

        Parameters
        ----------
        module : nn.Module
            The network, in any mode.
        states : sequence of state dicts
            One for each point, each complete.
        device, dtype
            Where and in which floating dtype to compute.
        examples : sequence of Tensor
            A few inputs for each point, placed and normalised; the same tensor where points see the same.

        Returns
        -------
        Prepared
        """


@dataclass(frozen=True)
class CopyEngine(AbstractEngine):
    """One private copy of the network for each point: exact for whatever a module does with its own parameters.

    A copy costs what a state dict held in memory would cost anyway, needs no swapping of tensors for each batch, and
    keeps the caller's module out of reach of train mode, caches and hooks.
    """

    def prepare(
        self,
        module: nn.Module,
        states: Sequence[StateDict],
        device: torch.device,
        dtype: torch.dtype,
        examples: Sequence[Tensor],
    ) -> Prepared:
        """See :meth:`AbstractEngine.prepare`."""
        networks = [load_copy(module, state, device, dtype).eval() for state in states]

        def run(inputs: Sequence[Tensor]) -> Iterator[Tensor]:
            return (outputs_tensor(network(x)) for network, x in zip(networks, inputs, strict=True))

        seen = trace(networks[0], examples[0])
        return Prepared(run, batch_size(max(seen.largest, seen.taken), device), "a copy for each point")


_IN_CACHE = 2**19
"""Elements of the largest tensor between two layers: 2 MiB in float32 stay close to a core."""

_ON_DEVICE = 2**25


def batch_size(largest: int, device: torch.device) -> int:
    """Return how many examples to run at a time, by size alone, so that the same run gives the same digits again.

    Parameters
    ----------
    largest : int
        Elements, for each example, of the largest tensor that is made.
    device
        Where.

    Returns
    -------
    int
        Between 1 and 1024 on a CPU, as many as stay in its cache but 16 where that leaves less than 64 MiB; up to
        4096 elsewhere.
    """
    if device.type != "cpu":
        return max(1, min(4096, _ON_DEVICE // largest))
    return max(1, min(1024, max(_IN_CACHE // largest, min(16, 32 * _IN_CACHE // largest))))


def load_copy(module: nn.Module, state: StateDict, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a copy of the module that holds the state, on the device and in the dtype.

    Raises
    ------
    MismatchError
        If the state is not complete, or has names, shapes or untied tensors that the module has not.
    """
    check_fits(module, state)
    network = copy.deepcopy(module).to(device=device, dtype=dtype)
    network.load_state_dict(dict(state))
    return network.requires_grad_(False)


def check_fits(module: nn.Module, state: StateDict) -> None:
    """Raise MismatchError unless the state has exactly the module's names and shapes, and keeps its ties."""
    expected = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    wrong = [f"missing {name!r} {tuple(expected[name].shape)}" for name in expected if name not in state]
    wrong += [f"unexpected {name!r} {tuple(state[name].shape)}" for name in state if name not in expected]
    wrong += [
        f"{name!r} is {tuple(state[name].shape)}, the network has {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    wrong = wrong or _broken_ties(expected, state)
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise MismatchError(f"The weights do not fit {type(module).__name__}: {'; '.join(wrong[:5])}{more}.")


def state_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Return what one parameter point takes in memory."""
    return sum(value.numel() for value in module.state_dict().values() if isinstance(value, Tensor)) * dtype.itemsize


def _broken_ties(expected: Mapping[str, Tensor], state: StateDict) -> list[str]:
    """Name the tensors that are one in the module and two in the state: loading would silently keep the last."""
    first: dict[int, str] = {}
    pairs = [(first.setdefault(id(value), name), name) for name, value in expected.items()]
    return [
        f"{one!r} and {other!r} are one tensor in the network and differ in the weights"
        for one, other in pairs
        if one != other and state[one] is not state[other] and not torch.equal(state[one], state[other])
    ]
