"""Training the bends of a curve between two fixed solutions, so that the loss along it stays low."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.datasets import AbstractData
from lmc.evaluation import resolve_loss
from lmc.evaluation.evaluate import Progress
from lmc.evaluation.inputs import resolve_device
from lmc.evaluation.losses import Loss
from lmc.interpolation import CURVES, AbstractCurve, LinearPath
from lmc.training.train import SCHEDULES, Steps, held_data, own_random_state


@dataclass(frozen=True)
class CurveResult:
    """A trained curve, and how it came about.

    Parameters
    ----------
    path : AbstractCurve
        From A to B, exactly; statistics of normalisation layers at its bends are interpolated, measure them anew.
    losses : array, shape (steps,)
        Of the batch of each step, at the position drawn for it.
    settings : dict
        Every setting, defaults included.
    """

    path: AbstractCurve
    losses: np.ndarray
    settings: dict[str, Any]


def train_curve(
    module: nn.Module,
    a: StateDict,
    b: StateDict,
    data: AbstractData,
    *,
    kind: str = "bezier",
    bends: int = 3,
    steps: int = 2000,
    lr: float = 1e-3,
    batch_size: int = 128,
    seed: int = 0,
    schedule: str = "cosine",
    loss: Loss | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> CurveResult:
    """Train the inner bends of a curve between two solutions, which stay as they are.

    Each step draws a position uniformly from [0, 1] and a batch, and descends (Adam) the loss there. Bends begin on the
    straight line.

    Parameters
    ----------
    module : torch.nn.Module
        The network; not changed. Dropout and BatchNorm are in train mode.
    a, b : state dict
        The ends.
    data : AbstractData
        The training split, held in memory.
    kind : {"bezier", "polygonal"}
        Of the curve.
    bends : int
        Points that define it, the ends included; at least 3.
    steps : int
        Number of steps.
    lr : float
        Learning rate at the start.
    batch_size, seed, schedule, loss, device, progress
        As in :func:`lmc.train`.

    Returns
    -------
    CurveResult

    Raises
    ------
    UsageError
        For a setting that makes no sense, or where training diverges.

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018, equation 2.
    """
    settings = {"kind": kind, "bends": bends, "steps": steps, "lr": lr, "batch_size": batch_size, "seed": seed}
    _check(settings, schedule)
    place = resolve_device(device, torch.float32)
    held = held_data(data)
    epochs = math.ceil(steps * batch_size / max(1, held.size)) + 1
    batches = Steps(held, batch_size, epochs, torch.Generator().manual_seed(seed), place)
    line = LinearPath(a, b)
    network = _Flat(module, place)
    points = torch.stack([network.read(line.at(k / (bends - 1))) for k in range(bends)])
    inner = points[1:-1].clone().requires_grad_()
    update = torch.optim.Adam([inner], lr=lr)
    criterion = resolve_loss(loss, data.task)
    draw = np.random.default_rng(seed)
    losses = np.empty(steps)
    feed = itertools.chain.from_iterable(batches.epoch(epoch) for epoch in range(1, epochs + 1))
    bar_context = progress(total=steps, desc="curve") if progress else contextlib.nullcontext()
    with own_random_state(place, seed), bar_context as bar:
        for step, (_, inputs, targets) in zip(range(steps), feed, strict=False):
            weights = torch.as_tensor(CURVES[kind].weights(draw.random(), bends), dtype=torch.float32, device=place)
            points[1:-1] = inner.detach()
            losses[step], gradient = network.gradient(weights @ points, criterion, inputs, targets)
            if not math.isfinite(losses[step]):
                raise UsageError(f"Training diverged: the loss is {losses[step]} in step {step + 1}. Lower lr.")
            inner.grad = weights[1:-1, None] * gradient
            update.param_groups[0]["lr"] = lr * SCHEDULES[schedule](step / steps)
            update.step()
            if bar is not None:
                bar.update(1)
    middle = [network.write(point, line.at(k / (bends - 1))) for k, point in enumerate(inner.detach().cpu(), 1)]
    return CurveResult(CURVES[kind]([a, *middle, b]), losses, settings | {"schedule": schedule})


class _Flat:
    """A copy of a network whose parameters, and their gradients, are views of one vector each."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.network = copy.deepcopy(module).to(device).train()
        self.shapes = {name: parameter.shape for name, parameter in self.network.named_parameters()}
        size = sum(shape.numel() for shape in self.shapes.values())
        self.vector, self.slope = torch.zeros(size, device=device), torch.zeros(size, device=device)
        parameters = dict(self.network.named_parameters())
        for name, (value, slope) in self._views(self.vector, self.slope).items():
            parameters[name].requires_grad_()
            parameters[name].data, parameters[name].grad = value, slope

    def _views(self, *vectors: Tensor) -> dict[str, list[Tensor]]:
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(*(vector.split(sizes) for vector in vectors), strict=True)
        return {name: [part.view(shape) for part in both] for (name, shape), both in zip(self.shapes.items(), parts)}

    def read(self, state: StateDict) -> Tensor:
        """Return the parameters of a state dict as one vector."""
        return torch.cat([state[name].reshape(-1).to(self.vector) for name in self.shapes])

    def write(self, vector: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict with these parameters; names tied in the network follow."""
        values = {name: view.clone() for name, (view,) in self._views(vector).items()}
        first = {id(parameter): name for name, parameter in self.network.named_parameters()}
        for name, parameter in self.network.named_parameters(remove_duplicate=False):
            state[name] = values[first[id(parameter)]]
        return state

    def gradient(self, vector: Tensor, criterion: Loss, inputs: Tensor, targets: Tensor) -> tuple[float, Tensor]:
        """Return the mean loss of a batch at a point, and its gradient there."""
        self.vector.copy_(vector)
        self.slope.zero_()
        value = criterion(self.network(inputs), targets).mean()
        value.backward()
        return value.item(), self.slope


def _check(settings: dict[str, Any], schedule: str) -> None:
    if settings["kind"] not in CURVES:
        raise unknown("curve", settings["kind"], CURVES)
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    for name, least in (("bends", 3), ("steps", 1), ("batch_size", 1)):
        if settings[name] < least:
            raise UsageError(f"{name}={settings[name]} must be at least {least}.")
    if not settings["lr"] > 0:
        raise UsageError(f"lr={settings['lr']} must be above 0.")
