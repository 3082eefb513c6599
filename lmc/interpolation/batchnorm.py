"""BatchNorm reset: statistics measured anew on training data; those of the ends do not average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lmc._errors import DatasetError
from lmc._types import StateDict
from lmc.datasets import AbstractData, Normalization, as_data
from lmc.evaluation.engine import load_copy
from lmc.evaluation.inputs import Normalizations, network_inputs, normalization_at, resolve_device
from lmc.interpolation.paths import AbstractPath


def batchnorm_layers(module: nn.Module) -> dict[str, _BatchNorm]:
    """Return the BatchNorm layers that keep running statistics, by name; a layer used twice under both its names."""
    named = module.named_modules(remove_duplicate=False)
    return {name: m for name, m in named if isinstance(m, _BatchNorm) and m.running_mean is not None}


def reset_batchnorm(
    module: nn.Module,
    state: StateDict,
    data: Any,
    *,
    batch_size: int = 500,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Return the state with BatchNorm statistics measured in one pass over training data.

    The statistics are the averages of the batches' means and unbiased variances, each batch weighted by its examples,
    in float64 (``momentum=None`` weighs a ragged last batch like the others). Only BatchNorm is in train mode, so
    that dropout stays off. A batch of one example has no variance and is left out.

    Parameters
    ----------
    module : nn.Module
        The network; it is copied, never changed.
    state : state dict
        Weights to measure the statistics for; never changed.
    data : AbstractData, or whatever as_data takes
        Training data, normalised with their own constants.
    batch_size : int
        Statistics are those of batches of this size.
    device, dtype
        Where and in which floating dtype to compute.

    Returns
    -------
    dict
        A new state dict; the same values where the network has no BatchNorm with statistics (see
        :func:`batchnorm_layers`).

    Raises
    ------
    DatasetError
        If no batch has two examples, or a statistic is not finite.

    References
    ----------
    .. [1] Izmailov et al. Averaging Weights Leads to Wider Optima and Better Generalization. UAI 2018.
    .. [2] Jordan et al. REPAIR: REnormalizing Permuted Activations for Interpolation Repair. ICLR 2023.
    """
    known = as_data(data)
    return _reset(module, state, known, known.normalization, batch_size, resolve_device(device, dtype), dtype)


@dataclass(frozen=True)
class RecalibratedPath(AbstractPath):
    """A path with BatchNorm reset at every position, the ends included.

    Parameters
    ----------
    path : AbstractPath
        Where the other tensors come from.
    module : nn.Module
        The network.
    data : AbstractData
        Training data; one pass for each position.
    normalizations : pair of Normalization or None, optional
        Constants of A and of B, interpolated along t; by default the data's own.
    batch_size, device, dtype
        As in :func:`reset_batchnorm`.
    """

    path: AbstractPath
    module: nn.Module
    data: AbstractData
    normalizations: Normalizations | None = None
    batch_size: int = 500
    device: str | torch.device = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def ends(self) -> tuple[StateDict, StateDict]:
        """The ends with their statistics measured in the same way."""
        return self.at(0.0), self.at(1.0)

    @property
    def description(self) -> str:
        """What happens to every kind of tensor along the path."""
        return f"{self.path.description}; BatchNorm statistics reset on {self.data.name} {self.data.split}, ends too"

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the inner path's state at ``t`` with statistics measured there; see :meth:`AbstractPath.at`."""
        pair = self.normalizations or (self.data.normalization, self.data.normalization)
        device = resolve_device(self.device, self.dtype)
        state = self.path.at(t)
        return _reset(self.module, state, self.data, normalization_at(pair, t), self.batch_size, device, self.dtype)


class _Sums:
    """Statistics of one layer, summed over batches with their examples as weights."""

    def __init__(self) -> None:
        self.examples = 0
        self.batches = 0
        self.mean: Tensor | float = 0.0
        self.var: Tensor | float = 0.0

    @property
    def hook(self) -> Callable[..., None]:
        def add(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            assert isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None
            count = len(inputs[0])
            self.examples += count
            self.batches += 1
            self.mean = self.mean + count * layer.running_mean.to("cpu", torch.float64)
            self.var = self.var + count * layer.running_var.to("cpu", torch.float64)

        return add

    def averages(self, name: str, data: AbstractData) -> dict[str, Tensor]:
        if not self.examples:
            raise DatasetError(f"BatchNorm {name!r} saw no batch of two or more examples of {data.name!r}.")
        mean, var = torch.as_tensor(self.mean) / self.examples, torch.as_tensor(self.var) / self.examples
        if not (mean.isfinite().all() and var.isfinite().all()):
            raise DatasetError(
                f"Statistics of BatchNorm {name!r} on {data.name!r} are not finite: check the weights and the inputs."
            )
        return {"running_mean": mean, "running_var": var, "num_batches_tracked": torch.tensor(self.batches)}


@torch.no_grad()
def _reset(
    module: nn.Module,
    state: StateDict,
    data: AbstractData,
    normalization: Normalization | None,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    network = load_copy(module, state, device, dtype).eval()
    layers = batchnorm_layers(network)
    sums = {layer: _Sums() for layer in layers.values()}
    for layer, total in sums.items():
        layer.reset_running_stats()
        layer.train()
        layer.momentum = 1.0  # running statistics become those of the last batch, which the hook then sums
        layer.register_forward_hook(total.hook)
    for inputs, _ in data.batches(batch_size) if layers else ():
        if len(inputs) > 1:
            network(network_inputs(inputs, normalization, device, dtype))
    fresh = dict(state)
    for name, layer in layers.items():
        for key, value in sums[layer].averages(name, data).items():
            full = f"{name}.{key}" if name else key
            fresh[full] = value.to(state[full])
    return fresh
