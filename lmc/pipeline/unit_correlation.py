"""How alike two networks' units behave on examples, unit by unit at the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._types import StateDict
from lmc.alignment.capture import watch
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec
from lmc.symmetry.sites import Site


def unit_correlation(
    spec: PermutationSpec,
    a: StateDict,
    b: StateDict,
    data: AbstractData,
    module: nn.Module,
    *,
    examples: int | None = 1000,
) -> tuple[NDArray[np.float64], int]:
    """Return the correlation between the activations of every unit of A and of the unit of B at its place.

    Parameters
    ----------
    spec : PermutationSpec
        All groups.
    a, b : mapping of str to Tensor
        Two networks; never modified.
    data : AbstractData
        Raw examples.
    module : torch.nn.Module
        The network; its own weights do not matter.
    examples : int or None
        How many are looked at, the first of the data; all for None.

    Returns
    -------
    array, shape (units of all groups,)
        Pearson's correlation over examples and positions, behind the nonlinearity; the mean over the places where the
        unit is seen. 0 where one of the two never varies, NaN for a group that is seen nowhere.
    int
        Number of examples seen.
    """
    seen = _SamePlace()
    count = watch(a, b, spec, data, module, place="post", examples=examples, seen=seen)
    parts = [seen.correlation(group.name, group.units) for group in spec.groups]
    return np.concatenate([*parts, np.zeros(0)]), count


class _SamePlace:
    """Running sums over all samples for pairs of units at the same place, in float64."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[tuple, Tensor]] = {}

    def begin(self, sites: Sequence[Site]) -> None:
        """Learn which groups there are to see."""
        self._sums = {name: {} for site in sites for name in site.axes}

    def add(self, site: Site, a: Tensor, b: Tensor, other: Site | None = None) -> None:
        """Take in what both networks show."""
        for name, axis in site.axes.items():
            one, two = axis.units(a).double(), (other or site).axes[name].units(b).double()
            count = torch.full((len(one),), one.shape[1], dtype=torch.float64, device=one.device)
            products = [(left * right).sum(1) for left, right in ((one, one), (two, two), (one, two))]
            sums = torch.stack([count, one.sum(1), two.sum(1), *products]).cpu()
            kept = self._sums[name]
            key = (site.node, site.output)
            kept[key] = kept[key] + sums if key in kept else sums

    def correlation(self, name: str, units: int) -> NDArray[np.float64]:
        """Return the mean over places."""
        places = list(self._sums.get(name, {}).values())
        if not places:
            return np.full(units, np.nan)
        return torch.stack([_pearson(sums) for sums in places]).mean(0).numpy()


def _pearson(sums: Tensor) -> Tensor:
    count, one, two, squares, others, cross = sums
    variances = [square / count - (mean / count) ** 2 for square, mean in ((squares, one), (others, two))]
    # What rounding alone would make is no variance.
    still = (variances[0] <= 1e-12 * squares / count) | (variances[1] <= 1e-12 * others / count)
    scale = (variances[0] * variances[1]).clamp(min=1e-300).sqrt()
    covariance = cross / count - one * two / count**2
    return torch.where(still, torch.zeros_like(scale), (covariance / scale).clamp(-1, 1))
