"""Children of one parent: runs that share their first steps and then see the examples in orders of their own."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc.datasets import AbstractData
from lmc.evaluation import resolve_loss
from lmc.evaluation.inputs import resolve_device
from lmc.training.train import (
    SCHEDULES,
    Steps,
    check_settings,
    held_data,
    make_optimizer,
    own_random_state,
    snapshot,
    take_step,
    train,
)

_OPTIONS = ("epochs", "lr", "optimizer", "momentum", "weight_decay", "batch_size", "schedule")
_DEFAULTS = {name: inspect.signature(train).parameters[name].default for name in _OPTIONS}


@dataclass(frozen=True, eq=False)
class Child:
    """A run that left its parent.

    Parameters
    ----------
    step : int
        Steps that it shares with its parent.
    seed : int
        Of its own order of examples.
    state : dict of str to Tensor
        Its weights after training, on the CPU.
    """

    step: int
    seed: int
    state: dict[str, Tensor]


def train_children(
    module: nn.Module,
    data: AbstractData,
    *,
    branch_steps: Sequence[int],
    children: Sequence[int] = (1, 2),
    seed: int = 0,
    device: str | torch.device = "cpu",
    **options: Any,
) -> list[Child]:
    """Train a parent, and from given steps on children with orders of examples of their own.

    A child takes over weights, buffers, the optimizer's state and the schedule; only the order of the examples (and
    the noise of dropout) is its own. It begins an epoch of its own where it leaves, and ends after as many steps in all
    as its parent.

    Parameters
    ----------
    module : torch.nn.Module
        The network and its initial weights; not changed.
    data : AbstractData
        The training split, held in memory.
    branch_steps : sequence of int
        Steps after which children leave, from 0 (they share the initial weights only) to all steps.
    children : sequence of int
        Their seeds, the same at every branch step.
    seed : int
        Of the parent's order of examples.
    device : str or torch.device
        Where to train.
    **options
        As in :func:`lmc.train`: ``epochs``, ``lr``, ``optimizer``, ``momentum``, ``weight_decay``, ``batch_size``,
        ``schedule``.

    Returns
    -------
    list of Child
        Branch step by branch step, in each in the order of ``children``.

    Raises
    ------
    UsageError
        For a setting that makes no sense, a step that is not there, or when training diverges.
    DatasetError
        For data that are streamed.

    References
    ----------
    .. [1] Frankle, Dziugaite, Roy, Carbin. Linear Mode Connectivity and the Lottery Ticket Hypothesis. ICML 2020.
    """
    unknown = set(options) - set(_DEFAULTS)
    if unknown:
        raise UsageError(f"train_children has no option {', '.join(sorted(unknown))}; it has {', '.join(_DEFAULTS)}.")
    settings = {**_DEFAULTS, **options}
    check_settings(settings)
    placed = resolve_device(device, torch.float32)
    held, criterion = held_data(data), resolve_loss(None, data.task)
    whole = _steps(held, settings, seed, placed)
    total = len(whole)
    if not branch_steps or not all(isinstance(k, int) and 0 <= k <= total for k in branch_steps):
        raise UsageError(f"branch_steps={list(branch_steps)}: training has {total} steps; name some from 0 to {total}.")

    def advance(run: _Run, batches: Iterator[tuple[Tensor, Tensor]], until: int) -> None:
        for step in range(run.taken, until):
            inputs, targets = next(batches)
            rate = settings["lr"] * SCHEDULES[settings["schedule"]](step / total)
            take_step(run.model, run.update, rate, criterion, inputs, targets, step // whole.per_epoch + 1)
            run.taken = step + 1

    parent = _Run.of(copy.deepcopy(module).to(placed).train(), settings)
    order, found = _batches(whole), {}
    with own_random_state(placed, seed):
        for step in sorted(set(branch_steps)):
            advance(parent, order, step)
            for own in children:
                child = parent.copy(settings)
                with own_random_state(placed, own):
                    advance(child, _batches(_steps(held, settings, own, placed)), total)
                found[step, own] = Child(step, own, snapshot(child.model))
    return [found[step, own] for step in branch_steps for own in children]


@dataclass
class _Run:
    """A network in training."""

    model: nn.Module
    update: torch.optim.Optimizer
    taken: int = 0

    @classmethod
    def of(cls, model: nn.Module, settings: dict[str, Any]) -> _Run:
        return cls(model, make_optimizer(model, settings))

    def copy(self, settings: dict[str, Any]) -> _Run:
        """Return a run that goes on from here and shares nothing with this one."""
        model = copy.deepcopy(self.model)
        update = make_optimizer(model, settings)
        update.load_state_dict(copy.deepcopy(self.update.state_dict()))
        return _Run(model, update, self.taken)


def _steps(data: Any, settings: dict[str, Any], seed: int, device: torch.device) -> Steps:
    return Steps(data, settings["batch_size"], settings["epochs"], torch.Generator().manual_seed(seed), device)


def _batches(steps: Steps) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in itertools.count(1):
        for _, inputs, targets in steps.epoch(epoch):
            yield inputs, targets
