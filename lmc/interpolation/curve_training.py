"""Training the bends of a curve between two fixed solutions, so that the loss along it stays low."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.datasets import AbstractData
from lmc.evaluation import resolve_loss
from lmc.evaluation.engine import check_fits
from lmc.evaluation.evaluate import Progress
from lmc.evaluation.inputs import network_inputs, resolve_device
from lmc.evaluation.losses import Loss
from lmc.interpolation.curves import CURVES, AbstractCurve
from lmc.interpolation.paths import LinearPath
from lmc.training.train import SCHEDULES, Steps, held_data, own_random_state


@dataclass(frozen=True)
class CurveResult:
    """A trained curve, and how it came about.

    Parameters
    ----------
    path : AbstractCurve
        From A to B: these state dicts themselves. Buffers of the inner bends are interpolated between A's and B's;
        statistics of BatchNorm have to be measured anew wherever the curve is evaluated.
    losses : float64 array, shape (steps,)
        Mean loss of each step's batch at the position that was drawn for it.
    settings : dict
        Every setting, defaults included.
    seconds : float
        Time it took.
    """

    path: AbstractCurve
    losses: NDArray[np.float64]
    settings: dict[str, Any]
    seconds: float


def train_curve(
    module: nn.Module,
    a: StateDict,
    b: StateDict,
    data: AbstractData,
    *,
    kind: str = "bezier",
    bends: int = 3,
    steps: int = 2000,
    lr: float = 3e-3,
    batch_size: int = 64,
    seed: int = 0,
    schedule: str = "cosine",
    loss: Loss | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> CurveResult:
    r"""Train the inner bends of a curve between two solutions, which stay as they are.

    .. math:: \min_\theta \; \mathrm{E}_{t \sim U[0, 1]} \; L(\phi_\theta(t))

    Each step draws a position and a batch, and descends the loss there (Adam, in float32). Bends begin on the straight
    line, equally spaced. Two calls with equal arguments give equal curves on the same machine; the global random state
    is left as it was.

    Parameters
    ----------
    module : torch.nn.Module
        The network; not changed. Dropout and BatchNorm are in train mode; every parameter is trained.
    a, b : state dict
        The ends; not changed.
    data : AbstractData
        The training split, held in memory; its normalisation is applied.
    kind : {"bezier", "polygonal"}
        Of the curve.
    bends : int
        Points that define it, the ends included; at least 3.
    steps : int
        Number of steps.
    lr : float
        Learning rate at the start.
    batch_size : int
        Examples in a step.
    seed : int
        Of the positions, the order of examples, and dropout.
    schedule : {"cosine", "none"}
        Of the learning rate, updated at each step.
    loss : callable, optional
        ``loss(outputs, targets)`` to one value for each example; by default the task's.
    device : str or torch.device
        Where to train.
    progress : callable, optional
        Such as ``tqdm.tqdm``; silent by default.

    Returns
    -------
    CurveResult

    Raises
    ------
    UsageError
        For a setting that makes no sense, or where training diverges.
    MismatchError
        If an end does not fit the network.
    DatasetError
        For data that are streamed.

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, equation 2.
    """
    started = time.perf_counter()
    settings = {"kind": kind, "bends": bends, "steps": steps, "lr": lr, "batch_size": batch_size, "seed": seed}
    settings |= {"schedule": schedule, "device": str(device)}
    _check(settings)
    place = resolve_device(device, torch.float32)
    for end in (a, b):
        check_fits(module, end)
    line = [LinearPath(a, b).at(k / (bends - 1)) for k in range(bends)]
    network = _Network(module, place)
    points = torch.stack([network.read(state) for state in line])
    order = Steps(held_data(data), batch_size, 1, torch.Generator().manual_seed(seed), place)
    criterion = resolve_loss(loss, data.task)
    losses = np.empty(steps)
    inner = points[1:-1].clone().requires_grad_()
    update = torch.optim.Adam([inner], lr=lr)
    bar_context = progress(total=steps, desc="curve") if progress else contextlib.nullcontext()
    with own_random_state(place, seed), bar_context as bar:
        for step, (t, inputs, targets) in enumerate(_batches(order, steps, seed)):
            weights = torch.as_tensor(CURVES[kind].weights(t, bends), dtype=torch.float32, device=place)
            points[1:-1] = inner.detach()
            losses[step], gradient = network.gradient(weights @ points, criterion, inputs, targets)
            if not math.isfinite(losses[step]):
                raise UsageError(f"Training diverged: the loss is {losses[step]} in step {step + 1}. Lower lr.")
            inner.grad = weights[1:-1, None] * gradient
            update.param_groups[0]["lr"] = lr * SCHEDULES[schedule](step / steps)
            update.step()
            if bar is not None:
                bar.update(1)
    middle = [network.write(point, state) for point, state in zip(inner.detach(), line[1:-1], strict=True)]
    return CurveResult(CURVES[kind]([a, *middle, b]), losses, settings, time.perf_counter() - started)


class _Network:
    """A copy of a network in train mode, whose parameters are read and written as one vector."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.network = copy.deepcopy(module).to(device, torch.float32).train().requires_grad_()
        named = dict(self.network.named_parameters(remove_duplicate=False))
        first = {id(parameter): name for name, parameter in self.network.named_parameters()}
        self.parameters = {name: named[name] for name in first.values()}
        self.origin = {name: first[id(parameter)] for name, parameter in named.items()}
        self.device = device

    def read(self, state: StateDict) -> Tensor:
        """Return the parameters of a state dict as one vector."""
        return torch.cat([state[name].reshape(-1).to(self.device, torch.float32) for name in self.parameters])

    def write(self, vector: Tensor, state: StateDict) -> dict[str, Tensor]:
        """Return a state dict with these parameters, where the state dict is; tied names hold one tensor."""
        parts = vector.split([parameter.numel() for parameter in self.parameters.values()])
        values = {
            name: part.view(parameter.shape).to(state[name].device, copy=True)
            for part, (name, parameter) in zip(parts, self.parameters.items(), strict=True)
        }
        return {**state, **{name: values[first] for name, first in self.origin.items()}}

    def gradient(self, vector: Tensor, criterion: Loss, inputs: Tensor, targets: Tensor) -> tuple[float, Tensor]:
        """Return the mean loss of a batch at a point, and its gradient there."""
        parameters = list(self.parameters.values())
        vector_to_parameters(vector, parameters)
        value = criterion(self.network(inputs), targets).mean()
        slopes: Sequence[Tensor | None] = torch.autograd.grad(value, parameters, allow_unused=True)
        flat = [
            (torch.zeros_like(parameter) if slope is None else slope).reshape(-1)
            for parameter, slope in zip(parameters, slopes, strict=True)
        ]
        return value.item(), torch.cat(flat)


def _batches(order: Steps, steps: int, seed: int) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield a position and a batch for every step, epoch after epoch."""
    positions = np.random.default_rng(seed)
    endless = itertools.chain.from_iterable(map(order.epoch, itertools.repeat(1)))
    for _, inputs, targets in itertools.islice(endless, steps):
        yield positions.random(), network_inputs(inputs, None, order.device, torch.float32), targets


def _check(settings: Mapping[str, Any]) -> None:
    if settings["kind"] not in CURVES:
        raise unknown("kind of curve", settings["kind"], CURVES)
    if settings["schedule"] not in SCHEDULES:
        raise unknown("schedule", settings["schedule"], SCHEDULES)
    for name, least in (("bends", 3), ("steps", 1), ("batch_size", 1)):
        if settings[name] < least:
            raise UsageError(f"{name}={settings[name]} must be at least {least}.")
    if not settings["lr"] > 0:
        raise UsageError(f"lr={settings['lr']} must be above 0.")
