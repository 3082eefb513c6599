"""Minibatch training with its own random numbers, on a copy of the module."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmc._errors import DatasetError, UsageError, unknown
from lmc.datasets import AbstractData, Data
from lmc.evaluation import resolve_loss
from lmc.evaluation.evaluate import Progress
from lmc.evaluation.inputs import resolve_device
from lmc.evaluation.losses import Loss

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}

SCHEDULES: dict[str, Callable[[float], float]] = {
    "none": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
"""Name to the factor on the learning rate when a share ``done`` of all steps has been taken."""

Callback = Callable[[int, dict[str, Tensor]], Any]
"""``callback(epoch, state)`` after each epoch, counted from 1; the state is a copy."""


@dataclass(frozen=True)
class TrainingResult:
    """Trained weights, and how they came about.

    Parameters
    ----------
    state : dict of str to Tensor
        On the CPU, in the order of ``module.state_dict()``; tied tensors share storage.
    history : tuple of dict
        One for each epoch: ``epoch`` (from 1), ``train_loss`` (mean over the epoch's examples while it trained),
        ``lr`` (of its last step).
    settings : dict
        Every setting, defaults included, and the number of examples and steps.
    """

    state: dict[str, Tensor]
    history: tuple[dict[str, float], ...]
    settings: dict[str, Any]


def train(
    module: nn.Module,
    data: AbstractData,
    *,
    epochs: int = 20,
    lr: float = 3e-3,
    optimizer: str = "adam",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 64,
    seed: int = 0,
    schedule: str = "cosine",
    loss: Loss | None = None,
    device: str | torch.device = "cpu",
    callback: Callback | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a copy of a module, starting from its weights.

    Two calls with equal arguments give equal weights on the same machine: the order of the examples and the noise of
    dropout come from ``seed``, and the global random state is left as it was.

    Parameters
    ----------
    module : torch.nn.Module
        The network and its initial weights; not changed.
    data : AbstractData
        The training split, held in memory; its normalisation is applied.
    epochs : int
        Passes over the data.
    lr : float
        Learning rate at the start.
    optimizer : {"adam", "adamw", "sgd"}
        Which one.
    momentum : float
        Of ``sgd``; the others do not read it.
    weight_decay : float
        Passed to the optimizer.
    batch_size : int
        Examples in a step. A single example that is left over joins the batch before it: BatchNorm cannot train on
        one.
    seed : int
        Of the order of examples, and of dropout.
    schedule : {"cosine", "none"}
        Of the learning rate, updated at each step.
    loss : callable, optional
        ``loss(outputs, targets)`` to one value for each example; by default the task's.
    device : str or torch.device
        Where to train.
    callback : callable, optional
        Called with the epoch, from 1, and a copy of the weights after it.
    progress : callable, optional
        Such as ``tqdm.tqdm``; silent by default.

    Returns
    -------
    TrainingResult

    Raises
    ------
    UsageError
        For a setting that makes no sense, or when training diverges.
    DatasetError
        For data that are streamed.
    """
    settings = {
        "epochs": epochs,
        "lr": lr,
        "optimizer": optimizer,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "seed": seed,
        "schedule": schedule,
        "device": str(device),
    }
    check_settings(settings)
    device = resolve_device(device, torch.float32)
    steps = Steps(held_data(data), batch_size, epochs, torch.Generator().manual_seed(seed), device)
    model = copy.deepcopy(module).to(device).train()
    update = make_optimizer(model, settings)
    criterion = resolve_loss(loss, data.task)
    history: list[dict[str, float]] = []
    bar_context = progress(total=len(steps), desc="training") if progress else contextlib.nullcontext()
    with own_random_state(device, seed), bar_context as bar:
        for epoch in range(1, epochs + 1):
            total = 0.0
            for done, inputs, targets in steps.epoch(epoch):
                rate = lr * SCHEDULES[schedule](done)
                total += len(inputs) * take_step(model, update, rate, criterion, inputs, targets, epoch)
                if bar is not None:
                    bar.update(1)
            history.append({"epoch": epoch, "train_loss": total / steps.examples, "lr": rate})
            if callback is not None:
                callback(epoch, snapshot(model))
    settings |= {"examples": steps.examples, "steps": len(steps)}
    return TrainingResult(snapshot(model), tuple(history), settings)


def make_optimizer(model: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name, for the parameters of a model."""
    extra = {"momentum": settings["momentum"]} if settings["optimizer"] == "sgd" else {}
    given = {"lr": settings["lr"], "weight_decay": settings["weight_decay"], **extra}
    return OPTIMIZERS[settings["optimizer"]](model.parameters(), **given)


def take_step(
    model: nn.Module,
    update: torch.optim.Optimizer,
    rate: float,
    criterion: Loss,
    inputs: Tensor,
    targets: Tensor,
    epoch: int,
) -> float:
    """Take one step, and return the loss before it."""
    for group in update.param_groups:
        group["lr"] = rate
    update.zero_grad()
    value = criterion(model(inputs), targets).mean()
    if not bool(torch.isfinite(value)):
        raise UsageError(f"Training diverged: the loss is {value.item()} in epoch {epoch}. Lower lr.")
    value.backward()
    update.step()
    return value.item()


@dataclass(frozen=True)
class Steps:
    """The batches of every epoch, in an order of their own generator."""

    data: Data
    batch_size: int
    epochs: int
    generator: torch.Generator
    device: torch.device

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.data.size

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch."""
        lone = self.examples % self.batch_size == 1 and self.examples > self.batch_size
        return math.ceil(self.examples / self.batch_size) - lone

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    def epoch(self, number: int) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yield the share of all steps that is done, normalised inputs, and targets."""
        order = torch.randperm(self.examples, generator=self.generator)
        edges = [step * self.batch_size for step in range(self.per_epoch)] + [self.examples]
        for step, (start, stop) in enumerate(itertools.pairwise(edges)):
            chosen = order[start:stop]
            inputs, targets = self.data.inputs[chosen], self.data.targets[chosen]
            if self.data.normalization is not None:
                inputs = self.data.normalization(inputs)
            yield ((number - 1) * self.per_epoch + step) / len(self), inputs.to(self.device), targets.to(self.device)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting that makes no sense."""
    if settings["optimizer"] not in OPTIMIZERS:
        raise unknown("optimizer", settings["optimizer"], OPTIMIZERS)
    if settings["schedule"] not in SCHEDULES:
        raise unknown("schedule", settings["schedule"], SCHEDULES)
    for name, least in (("epochs", 0), ("batch_size", 1), ("weight_decay", 0)):
        if settings[name] < least:
            raise UsageError(f"{name}={settings[name]} must be at least {least}.")
    if not settings["lr"] > 0:
        raise UsageError(f"lr={settings['lr']} must be above 0.")


def held_data(data: AbstractData) -> Data:
    """Return data that are in memory, or raise DatasetError."""
    if not isinstance(data, Data):
        raise DatasetError(
            f"{data.name}: training shuffles the examples, so they must be in memory. Pass arrays (x, y)."
        )
    return data


@contextlib.contextmanager
def own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the global generators (dropout draws from them) for the time of the block only."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Return copies on the CPU; tied tensors stay one."""
    copies: dict[Any, Tensor] = {}
    state = {}
    for key, value in model.state_dict().items():
        memory = (value.data_ptr(), value.shape, value.stride()) if value.numel() else key
        if memory not in copies:
            copies[memory] = value.detach().to("cpu", copy=True)
        state[key] = copies[memory]
    return state
