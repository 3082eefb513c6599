"""Training for a file: the weights, and everything needed to read them without being told."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from lmc.datasets import AbstractData
from lmc.evaluation import evaluate_state
from lmc.training.train import TrainingResult, train


def train_checkpoint(
    module: nn.Module, model: str, data_train: AbstractData, data_test: AbstractData, **options: Any
) -> tuple[TrainingResult, dict[str, Any]]:
    """Train a network, measure it, and describe it for its checkpoint.

    Parameters
    ----------
    module : torch.nn.Module
        The network and its initial weights; not changed.
    model : str
        Its reference with every size written out, such as an ``Architecture.reference``.
    data_train, data_test : AbstractData
        To train on, and to measure on.
    **options
        Those of `train`.

    Returns
    -------
    TrainingResult
        What `train` returns.
    dict
        To be saved under the key ``lmc`` of the checkpoint: ``model``, ``input_shape``, ``data``, ``data_digest``,
        ``normalization`` (None, or ``mean`` and ``std``), ``training`` (the settings), ``train_loss`` (of the last
        epoch, in nats), ``test_loss``, ``test_accuracy`` (in [0, 1], None for regression), ``test_split`` and
        ``versions``. Plain values that JSON takes.
    """
    result = train(module, data_train, **options)
    measured = evaluate_state(module, result.state, data_test, device=options.get("device", "cpu"))
    constants = data_train.normalization
    return result, {
        "model": model,
        "input_shape": list(data_train.input_shape),
        "data": data_train.reference,
        "data_digest": data_train.digest,
        "normalization": constants and {"mean": list(constants.mean), "std": list(constants.std)},
        "training": result.settings,
        "train_loss": result.history[-1]["train_loss"] if result.history else None,
        "test_loss": float(measured.loss[0]),
        "test_accuracy": None if measured.accuracy is None else float(measured.accuracy[0]),
        "test_split": data_test.split,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    try:
        own = version("lmc")
    except PackageNotFoundError:
        own = "not installed"
    return {"lmc": own, "torch": torch.__version__, "python": platform.python_version()}
