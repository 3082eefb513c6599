"""Quantities that cost further evaluations, on request, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lmc._errors import SchemaError, UsageError, unknown
from lmc.barriers.closeness import activation_closeness
from lmc.barriers.disagreement import disagreement
from lmc.barriers.parts import describe_work
from lmc.barriers.setting import Quantity, Setting
from lmc.barriers.sharpness import sharpness
from lmc.barriers.top5 import top5
from lmc.interpolation import AbstractPath
from lmc.units import Unit, WorkFolder, fingerprint

FURTHER: Mapping[str, Quantity] = {
    "closeness": activation_closeness,
    "disagreement": disagreement,
    "sharpness": sharpness,
    "top5": top5,
}
"""What ``also`` may name."""

_OF_CLASSES = frozenset({"disagreement", "top5"})


def check_further(names: Sequence[str], task: str | None = None) -> None:
    """Raise UsageError for a quantity that nobody knows, with the nearest that is known, or that a task has not."""
    for name in names:
        if name not in FURTHER:
            raise unknown("quantity", name, FURTHER)
        if task == "regression" and name in _OF_CLASSES:
            raise UsageError(f"{name} is about predicted classes; these data are a regression: leave it out.")


def measure_further(
    names: Sequence[str], paths: Mapping[str, AbstractPath], setting: Setting, work: WorkFolder | None
) -> dict[str, Any]:
    """Return the variables of all these quantities, with the dim ``alignment``, and their coordinates."""
    about = describe_work(setting) if work else {}
    tasks = [(name, path) for name in dict.fromkeys(names) for path in paths.values()]
    computed = [_computation(FURTHER[name], setting, path) for name, path in tasks]
    if work is None:
        found = [compute() for compute in computed]
    else:
        t = setting.t.tolist()
        units = [Unit("quantity", {**about, "name": name, "path": fingerprint(path), "t": t}) for name, path in tasks]
        found = work.run(list(zip(units, computed, strict=True)))
    rows = [found[i : i + len(paths)] for i in range(0, len(found), len(paths))]
    return {str(name): value for row in rows for name, value in _stacked(row).items()}


def _computation(quantity: Quantity, setting: Setting, path: AbstractPath) -> Callable[[], xr.Dataset]:
    def compute() -> xr.Dataset:
        return xr.Dataset({name: (dims, np.asarray(value)) for name, (dims, value) in quantity(setting, path).items()})

    return compute


def _stacked(rows: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Put the rows of one quantity on top of each other; what labels a dim is the same in all of them."""
    found: dict[str, Any] = {}
    for name, variable in rows[0].variables.items():
        if variable.dims == (name,):
            if any(list(row[name].values) != list(variable.values) for row in rows):
                raise SchemaError(f"The paths do not have the same {name}s.")
            found[str(name)] = (variable.dims, variable.values)
        else:
            found[str(name)] = (("alignment", *variable.dims), np.stack([row[name].values for row in rows]))
    return found
