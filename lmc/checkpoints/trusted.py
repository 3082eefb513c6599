"""Pickles of whole models, which run code when they are read: opened only where the user says so, file by file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lmc._imports import blame
from lmc.checkpoints.format import Contents, Format, Sample, refuse
from lmc.checkpoints.torch_files import LEGACY, ZIP

_DEPTH = 4


def is_pickle(sample: Sample) -> bool:
    """Say whether a file is a pickle, torch's own included."""
    return ZIP.recognises(sample) or LEGACY.recognises(sample) or sample.head.startswith(b"\x80")


def read_trusted(sample: Sample) -> Contents:
    """Unpickle a file that the user trusts; a module in it stands for its state dict.

    Raises
    ------
    CheckpointError
        If it cannot be unpickled here: most often, its classes cannot be imported.
    """
    try:
        if ZIP.recognises(sample) or LEGACY.recognises(sample):
            tree = torch.load(sample.path, map_location="cpu", weights_only=False)
        else:
            with sample.path.open("rb") as stream:
                tree = pickle.load(stream)
    except Exception as error:
        what = f"cannot be unpickled here ({blame(error)})"
        raise refuse(sample.path, what, "Make the code of its classes importable: PYTHONPATH=FOLDER lmc ...") from error
    return Contents(_plain(tree), metadata={"unpickled": True})


PICKLE = Format("Python pickle, trusted", "torch", (), is_pickle, read_trusted)
"""No member of the formats that are asked: it is used for a file that the user named as trusted."""


def _plain(tree: Any, depth: int = _DEPTH) -> Any:
    if isinstance(tree, nn.Module):
        return dict(tree.state_dict())
    if isinstance(tree, Mapping) and depth:
        return {key: _plain(value, depth - 1) for key, value in tree.items()}
    return tree
