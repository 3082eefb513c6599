"""Several networks answering together: the mean of their outputs or probabilities, example by example."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lmc._errors import InputError, UsageError
from lmc._types import StateDict
from lmc.datasets import AbstractData
from lmc.evaluation.engine import CopyEngine
from lmc.evaluation.evaluate import PathEvaluation
from lmc.evaluation.inputs import network_inputs, resolve_device
from lmc.evaluation.losses import Loss, resolve_loss
from lmc.evaluation.metrics import resolve_metric


def evaluate_ensemble(
    members: Sequence[tuple[nn.Module, StateDict]],
    data: AbstractData,
    *,
    mix: Sequence[float] | None = None,
    combine: Literal["logits", "probabilities"] = "logits",
    loss: Loss | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> PathEvaluation:
    """Evaluate the mean of what networks answer.

    Parameters
    ----------
    members : sequence of (module, state dict)
        The networks, which may differ in everything but their outputs; neither is changed.
    data : AbstractData
        Examples with raw inputs, read once.
    mix : sequence of float, optional
        Share of each, summing to one; equal by default.
    combine : {"logits", "probabilities"}
        What is averaged. For values (regression) both are the mean of the outputs.
    loss : callable, optional
        ``loss(outputs, targets)`` to one value for each example; by default the data's task decides. Mean probabilities
        reach it as their logarithms.
    device, dtype
        Where and in which floating dtype to compute.

    Returns
    -------
    PathEvaluation
        With arrays of shape (1, example), as of :func:`evaluate_state`.

    Raises
    ------
    UsageError
        If there is no network, or not a share for each.
    MismatchError
        If weights do not fit their module.
    InputError
        If outputs differ in shape, or a loss is not finite.
    """
    start = time.perf_counter()
    shares = [1 / max(1, len(members))] * len(members) if mix is None else list(mix)
    if not members or len(shares) != len(members):
        raise UsageError(f"{len(shares)} shares for an ensemble of {len(members)} networks: give one for each.")
    place, criterion = resolve_device(device, dtype), resolve_loss(loss, data.task)
    first = network_inputs(next(iter(data.batches(2)))[0], data.normalization, place, dtype)
    prepared = [CopyEngine().prepare(module, [state], place, dtype, [first]) for module, state in members]
    losses: list[Tensor] = []
    correct: list[Tensor] = []
    for inputs, targets in data.batches(min(one.batch_size for one in prepared)):
        seen, placed = network_inputs(inputs, data.normalization, place, dtype), targets.to(place)
        with torch.inference_mode():
            outputs = [next(iter(one.run([seen]))) for one in prepared]
            mean = mean_answer(outputs, shares, combine, data.task).to(torch.promote_types(dtype, torch.float32))
            losses.append(criterion(mean, placed))
            metric = resolve_metric(data.task, mean, placed)
            correct += [] if metric is None else [metric(mean, placed)]
    values = torch.cat(losses)
    if not bool(values.isfinite().all()):
        wrong = int((~values.isfinite()).sum())
        raise InputError(f"The ensemble's loss is not finite on {wrong} of {len(values)} examples: check the weights.")
    right: Any = torch.cat(correct).cpu().numpy()[None] if correct else None
    seconds = time.perf_counter() - start
    return PathEvaluation(np.zeros(1), values.cpu().numpy()[None], right, seconds, f"{len(members)} networks")


def mean_answer(outputs: Sequence[Tensor], mix: Sequence[float], combine: str, task: str) -> Tensor:
    """Return the mean output, or the logarithm of the mean probability, in float64.

    Parameters
    ----------
    outputs : sequence of Tensor, shape (examples, ..., classes)
        Of each network.
    mix : sequence of float
        Shares.
    combine, task : str
        What is averaged, of what.
    """
    if any(one.shape != outputs[0].shape for one in outputs):
        shapes = ", ".join(str(tuple(one.shape)) for one in outputs)
        raise InputError(f"The networks of an ensemble answer in different shapes: {shapes}.")
    stacked = torch.stack([one.double() for one in outputs])
    shares = torch.tensor(mix, dtype=torch.float64, device=stacked.device).reshape(-1, *[1] * outputs[0].dim())
    if combine == "logits" or task == "regression":
        return (shares * stacked).sum(0)
    return (stacked.log_softmax(-1) + shares.log()).logsumexp(0)
