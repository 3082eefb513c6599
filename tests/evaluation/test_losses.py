"""Losses: one value for each example, and shapes that do not fit are told, not broadcast."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lmc._errors import ArchitectureError, DatasetError, InputError, UsageError
from lmc.evaluation.losses import cross_entropy, outputs_tensor, resolve_loss, squared_error, token_cross_entropy
from lmc.evaluation.metrics import resolve_metric

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 2])


def test_cross_entropy_is_the_negative_log_probability() -> None:
    expected = -LOGITS.softmax(dim=1).log()[[0, 1], LABELS]
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS), expected)


def test_token_cross_entropy_is_the_mean_over_each_window() -> None:
    logits, targets = torch.randn(2, 5, 3), torch.randint(0, 3, (2, 5))
    expected = torch.stack([F.cross_entropy(logits[i], targets[i]) for i in range(2)])
    torch.testing.assert_close(token_cross_entropy(logits, targets), expected)


def test_squared_error_never_broadcasts_a_column_against_a_row() -> None:
    outputs, targets = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])
    torch.testing.assert_close(squared_error(outputs, targets), torch.tensor([0.0, 4.0]))
    with pytest.raises(DatasetError, match=r"\(2, 3\).*\(2,\)"):
        squared_error(LOGITS, targets)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "told"),
    [
        (cross_entropy, LOGITS, torch.tensor([0, 3]), "3 classes .* targets from 0 to 3"),
        (cross_entropy, LOGITS, torch.tensor([-1, 0]), "targets from -1 to 0"),
        (cross_entropy, LOGITS, torch.tensor([0.0, 1.0]), "must be integers"),
        (cross_entropy, LOGITS, torch.tensor([[0], [1]]), r"\(2, 3\).*\(2, 1\)"),
        (token_cross_entropy, LOGITS, LABELS, r"\(2, 3\).*\(2,\)"),
    ],
)
def test_what_does_not_fit_is_told_with_both_values(loss, outputs, targets, told) -> None:
    with pytest.raises(DatasetError, match=told):
        loss(outputs, targets)


def test_a_loss_of_ones_own_must_not_average_over_the_batch() -> None:
    with pytest.raises(InputError, match=r"cross_entropy.*batch of 2.*reduction='none'"):
        resolve_loss(F.cross_entropy, "classification")(LOGITS, LABELS)


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'classification'"):
        resolve_loss(None, "clasification")


@pytest.mark.parametrize(
    "answer",
    [LOGITS, {"logits": LOGITS, "hidden": LABELS}, {"out": LOGITS}, (LOGITS, LABELS), SimpleNamespace(logits=LOGITS)],
)
def test_the_logits_are_found_in_what_a_network_returns(answer) -> None:
    assert outputs_tensor(answer) is LOGITS


@pytest.mark.parametrize("answer", [None, {"a": LOGITS, "b": LOGITS}, (), "logits"])
def test_an_answer_without_logits_is_refused(answer) -> None:
    with pytest.raises(ArchitectureError, match="logits"):
        outputs_tensor(answer)


def test_accuracy_exists_only_for_logits_and_classes() -> None:
    assert resolve_metric("classification", LOGITS, LABELS) is not None
    assert resolve_metric("classification", LOGITS[:, :1], LABELS) is None
    assert resolve_metric("regression", LOGITS, LABELS) is None


@pytest.mark.parametrize("classes", [1, 2, 10, 32, 33, 100])
def test_few_classes_give_the_numbers_of_many(classes) -> None:
    """Confident outputs too, whose loss is far below one."""
    outputs = 30 * torch.randn(50, classes, generator=torch.Generator().manual_seed(classes))
    targets = outputs.argmax(1).where(torch.arange(50) % 2 == 0, torch.arange(50) % classes)
    torch.testing.assert_close(
        cross_entropy(outputs, targets), torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    )
