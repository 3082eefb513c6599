"""Examples to evaluate and train on: named sets, files, and whatever iterates over batches of the user's own.

Inputs stay as they were decoded; how they are normalised is data about the set, applied by whoever evaluates.
"""

from __future__ import annotations

from lmc.datasets.as_data import as_data
from lmc.datasets.data import AbstractData, Data, StreamedData
from lmc.datasets.normalization import PRESETS, Normalization
from lmc.datasets.open import DATASETS, open_data

__all__ = ["DATASETS", "PRESETS", "AbstractData", "Data", "Normalization", "StreamedData", "as_data", "open_data"]
