"""Which ``nn.Module`` a set of weights belongs to: by import path, known name, the checkpoint's word or its shapes.

Nothing here computes on weights, and nothing found inside a checkpoint is ever imported or executed.
"""

from __future__ import annotations

from lmc.architectures.architecture import AbstractNetwork, Architecture, try_forward
from lmc.architectures.fit import fit_state
from lmc.architectures.naming import match_names
from lmc.architectures.registry import NETWORKS
from lmc.architectures.resolve import identify, resolve

__all__ = [
    "NETWORKS",
    "AbstractNetwork",
    "Architecture",
    "fit_state",
    "identify",
    "match_names",
    "resolve",
    "try_forward",
]
