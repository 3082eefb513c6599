"""Losses, one value for each example: means are taken later, in float64, so that every example weighs the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from lmc._errors import ArchitectureError, DatasetError, InputError, unknown

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Outputs and targets of a batch to one value for each example, shape (n,)."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example.

    Parameters
    ----------
    outputs : Tensor, shape (n, classes)
        Logits.
    targets : Tensor of integers, shape (n,)
        Classes.

    Returns
    -------
    Tensor, shape (n,), in nats

    Raises
    ------
    DatasetError
        If the shapes differ from these, or a target is no class of the network.
    """
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise DatasetError(
            f"Classification needs outputs of shape (n, classes) and targets of shape (n,); the network gives "
            f"{tuple(outputs.shape)} and the data {tuple(targets.shape)}. Pass another network, or a loss of your own."
        )
    _check_classes(outputs, targets)
    if outputs.device.type == "cpu" and outputs.shape[1] <= _SHORT:
        return -outputs.T.contiguous().log_softmax(0).gather(0, targets.long()[None])[0]
    return F.cross_entropy(outputs, targets.long(), reduction="none")


_SHORT = 32
"""Classes up to which a softmax down columns is two to three times as fast as along rows, with the same numbers."""


def token_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each window of tokens, the mean over its positions.

    Parameters
    ----------
    outputs : Tensor, shape (n, positions, vocabulary)
        Logits of the next token.
    targets : Tensor of integers, shape (n, positions)
        The next tokens.

    Returns
    -------
    Tensor, shape (n,), in nats per token

    Raises
    ------
    DatasetError
        If the shapes differ from these, or a target is outside the vocabulary.
    """
    if outputs.ndim != 3 or targets.shape != outputs.shape[:2]:
        raise DatasetError(
            f"Token data need outputs of shape (n, positions, vocabulary) and targets of shape (n, positions); the "
            f"network gives {tuple(outputs.shape)} and the data {tuple(targets.shape)}."
        )
    _check_classes(outputs, targets)
    return F.cross_entropy(outputs.transpose(1, 2), targets.long(), reduction="none").mean(dim=1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of each example, the mean over its outputs.

    Parameters
    ----------
    outputs, targets : Tensor, shape (n, ...)
        The same shape; a single output may lack its last dimension on either side.

    Returns
    -------
    Tensor, shape (n,)

    Raises
    ------
    DatasetError
        If the shapes differ: (n, 1) against (n,) would otherwise broadcast to n x n.
    """
    flat_outputs, flat_targets = outputs.reshape(len(outputs), -1), targets.reshape(len(targets), -1)
    if flat_outputs.shape != flat_targets.shape:
        raise DatasetError(
            f"Regression needs targets shaped as the outputs; the network gives {tuple(outputs.shape)} and the data "
            f"{tuple(targets.shape)}."
        )
    return (flat_outputs - flat_targets.to(flat_outputs.dtype)).square().mean(dim=1)


LOSSES: Mapping[str, Loss] = {
    "classification": cross_entropy,
    "tokens": token_cross_entropy,
    "regression": squared_error,
}
"""Task of a dataset to its loss."""


def resolve_loss(loss: Loss | None, task: str) -> Loss:
    """Return the loss of a task, or the user's own one with its result checked.

    Parameters
    ----------
    loss : callable, optional
        ``loss(outputs, targets)`` to a tensor with one value for each example; None takes the task's.
    task : str
        "classification", "tokens" or "regression".

    Raises
    ------
    UsageError
        If the task is unknown and no loss is given.
    """
    if loss is None:
        if task not in LOSSES:
            raise unknown("task", task, LOSSES)
        return LOSSES[task]

    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        values = loss(outputs, targets)
        if not isinstance(values, Tensor) or values.shape != (len(outputs),):
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"The loss {loss_name(loss, task)!r} returned {found} for a batch of {len(outputs)}; it must return "
                f"one value for each example, shape ({len(outputs)},): no mean over the batch (reduction='none')."
            )
        return values

    return checked


def loss_name(loss: Loss | None, task: str) -> str:
    """Return the name that results carry: the function's own, or its class's."""
    function = LOSSES[task] if loss is None else loss
    return getattr(function, "__name__", type(function).__name__)


def outputs_tensor(outputs: Any) -> Tensor:
    """Return the one tensor that a network's answer is about: itself, ``logits``, or the first of a tuple.

    Raises
    ------
    ArchitectureError
        If the network answers with anything else.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        found = outputs.get("logits", next(iter(outputs.values())) if len(outputs) == 1 else None)
    elif isinstance(outputs, (tuple, list)) and outputs:
        found = getattr(outputs, "logits", outputs[0])
    else:
        found = getattr(outputs, "logits", None)
    if isinstance(found, Tensor):
        return found
    keys = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
    raise ArchitectureError(
        f"The network returned a {type(outputs).__name__}{keys}; a tensor, a tuple that begins with one, or something "
        "with 'logits' is needed. Wrap the network in a module that returns the logits."
    )


def _check_classes(outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets that are no index of the last dimension: a GPU would only say 'device-side assert'."""
    if targets.is_floating_point() or targets.is_complex():
        raise DatasetError(f"Targets must be integers (classes), the data give {targets.dtype}.")
    low, high = targets.aminmax()
    if low < 0 or high >= outputs.shape[-1]:
        raise DatasetError(
            f"The network has {outputs.shape[-1]} classes (0 to {outputs.shape[-1] - 1}), the data have targets from "
            f"{int(low)} to {int(high)}: another head or another dataset is needed."
        )
