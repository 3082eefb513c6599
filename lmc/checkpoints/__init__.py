"""Checkpoints from any training source as one thing: a state dict of torch tensors, and where it came from.

A format is one file of this package that offers a `Format`; `_load.py` lists them. Nothing here knows which network
the weights belong to.
"""

from lmc.checkpoints._checkpoint import Checkpoint as Checkpoint
from lmc.checkpoints._checkpoint import describe as describe
from lmc.checkpoints._load import load as load
from lmc.checkpoints._save import save as save

__all__ = ["Checkpoint", "describe", "load", "save"]
