"""What a sweep must be before its first unit is computed, checked where the sweep is planned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lmc._errors import UsageError
from lmc.barriers import check_further, make_grid
from lmc.sweep.members import Member
from lmc.sweep.settings import SweepSettings


def check_settings(settings: SweepSettings) -> None:
    """Raise UsageError or GridError for numbers and names that no unit could be computed with."""
    measure, execution = settings.measure, settings.execution
    make_grid(measure.points)
    check_further(measure.also)
    if not 0 < measure.confidence < 1:
        raise UsageError(f"[measure] confidence must lie between 0 and 1 (0.95, say), got {measure.confidence}.")
    for name, value in (("[execution] workers", execution.workers), ("[execution] threads", execution.threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}.")
    for name, value in (("[pairs] seed", settings.pairs.seed), ("[measure] seed", measure.seed)):
        if value < 0:
            raise UsageError(f"{name} must be 0 or more, got {value}.")
    try:
        torch.device(measure.device)  # whether there is one is asked where the units are computed
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"[measure] device is {measure.device!r}: {reason}. Write cpu, cuda or cuda:0.") from error


def check_shapes(members: tuple[Member, ...], networks: Mapping[str, str], pairs: NDArray[np.int64]) -> None:
    """Refuse pairs of different networks, all at once, before the first is computed."""
    numbers: dict[str | None, int] = {None: -1}
    codes = np.array([numbers.setdefault(networks.get(one.layout), len(numbers)) for one in members])
    first, second = codes[pairs[:, 0]], codes[pairs[:, 1]]
    unequal = np.flatnonzero((first != second) & (first >= 0) & (second >= 0))
    if len(unequal):
        a, b = (members[k].name for k in pairs[unequal[0]].tolist())
        raise UsageError(
            f"{len(unequal):,} of {len(pairs):,} pairs are of different networks, {a} and {b} for one. Say in [pairs] "
            'in what both ends agree: within = "width".'
        )
