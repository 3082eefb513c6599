"""Barycenters of groups that lie in one another (heads, and what is inside them): one to one, matched together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import Permutation
from lmc.alignment.families import Family, Worth, match, permuted_rows, worth_of
from lmc.fusion.layers import Place


@dataclass(frozen=True, eq=False)
class Matched:
    """Permutations of a family in every network.

    Parameters
    ----------
    permutations : tuple of mapping
        One for each network: group name to index vector, from its own order to the target's.
    trace : tuple of float
        The objective on the way; it never rises.
    """

    permutations: tuple[Permutation, ...]
    trace: tuple[float, ...]

    def plans(self, family: Family, network: int) -> dict[str, NDArray[np.float64]]:
        """Return the permutations of a network as plans, shape (blocks, size, size), mass one a block."""
        found = {}
        for group in family.groups:
            perm = np.asarray(self.permutations[network][group.name]).reshape(group.blocks, group.size)
            found[group.name] = np.eye(group.size)[perm] / group.size
        return found


def nested_barycenter(
    family: Family, places: Sequence[Place], mix: Sequence[float], start: int, *, seed: int = 0, iterations: int = 20
) -> Matched:
    """Descend from one network's own order: match every network to the mean, then take the mean anew.

    A matching of nested groups is found by descent with restarts, which need not find the best one: what is worse than
    the matching before is not taken, so that the objective falls all the same.

    Parameters
    ----------
    family : Family
        Groups of equal sizes in all networks.
    places : sequence of Place
        Where they are compared.
    mix : sequence of float
        Shares.
    start : int
        Number of the network whose units the fused one starts as.
    seed : int
        Of the restarts.
    iterations : int
        Most steps.
    """
    held: list[Permutation] = [{group.name: group.identity() for group in family.groups} for _ in mix]
    targets = [place.rows[start].values if place.start is None else place.start for place in places]
    trace: list[float] = []
    for _ in range(iterations):
        total = 0.0
        for network, share in enumerate(mix):
            worths = _worths(places, targets, network)
            kept = worth_of(family, worths, held[network])
            found, worth = match(family, worths, seed)
            if worth > kept or not trace:
                held[network], kept = found, worth
            total -= share * kept
        if trace and total >= trace[-1] - 1e-9 * abs(trace[-1]):
            break
        trace.append(total)
        targets = [_mean(family, place, targets[number], mix, held) for number, place in enumerate(places)]
        trace.append(-sum(s * worth_of(family, _worths(places, targets, n), held[n]) for n, s in enumerate(mix)))
    return Matched(tuple(held), tuple(trace))


def _worths(places: Sequence[Place], targets: Sequence[Tensor], network: int) -> list[Worth]:
    return [
        Worth(place.axes, place.shape, -torch.from_numpy(place.rows[network].cost(target)))
        for place, target in zip(places, targets, strict=True)
    ]


def _mean(
    family: Family, place: Place, like: Tensor, mix: Sequence[float], permutations: Sequence[Permutation]
) -> Tensor:
    total = torch.zeros_like(like)
    for rows, share, permutation in zip(place.rows, mix, permutations, strict=True):
        where = Worth(place.axes, place.shape, rows.values)
        total += share * permuted_rows(family, where, permutation, rows.values)
    return total
