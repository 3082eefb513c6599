"""What was right for each example; accuracies and errors are its means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Say which examples are classified correctly: logits (n, classes), targets (n,) to bool (n,)."""
    return outputs.argmax(dim=-1) == targets


def token_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return each window's share of tokens predicted correctly: (n, positions, vocabulary) to float (n,)."""
    return (outputs.argmax(dim=-1) == targets).float().mean(dim=1)


METRICS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"classification": correct, "tokens": token_accuracy}
"""Task of a dataset to what counts as correct; a task that is not here has no accuracy."""


def resolve_metric(task: str, outputs: Tensor, targets: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the metric of a task, or None where outputs and targets are not logits and classes."""
    logits = outputs.ndim == targets.ndim + 1 and outputs.shape[:-1] == targets.shape and outputs.shape[-1] > 1
    return METRICS.get(task) if logits and not targets.is_floating_point() else None
