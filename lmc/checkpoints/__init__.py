"""Checkpoints from any training source as one thing: a state dict of torch tensors, and where it came from.

A format is one file of this package that offers a `Format`; `loading.py` lists them. Nothing here knows which network
the weights belong to.
"""

from lmc.checkpoints.adapters import merge as merge
from lmc.checkpoints.checkpoint import Checkpoint as Checkpoint
from lmc.checkpoints.checkpoint import describe as describe
from lmc.checkpoints.folders import check_folder as check_folder
from lmc.checkpoints.folders import save_folder as save_folder
from lmc.checkpoints.loading import load as load
from lmc.checkpoints.relations import Relation as Relation
from lmc.checkpoints.relations import cosine as cosine
from lmc.checkpoints.relations import relate as relate
from lmc.checkpoints.usable import check_usable as check_usable
from lmc.checkpoints.writing import save as save

__all__ = [
    "Checkpoint",
    "Relation",
    "check_folder",
    "check_usable",
    "cosine",
    "describe",
    "load",
    "merge",
    "relate",
    "save",
    "save_folder",
]
