"""A small, reproducible trainer: what the demo, fine-tuning and the studies need, and no more."""

from __future__ import annotations

from lmc.training.children import Child, train_children
from lmc.training.metadata import train_checkpoint
from lmc.training.train import OPTIMIZERS, SCHEDULES, TrainingResult, train

__all__ = ["OPTIMIZERS", "SCHEDULES", "Child", "TrainingResult", "train", "train_checkpoint", "train_children"]
