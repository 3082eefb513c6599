"""What a layer of the fused network starts as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lmc.fusion.couple import Couple
from lmc.fusion.free_support import Plans, barycenter, mean_rows
from lmc.fusion.layers import Place, Rows
from lmc.symmetry import PermutationGroup

if TYPE_CHECKING:
    from lmc.fusion.wasserstein import WassersteinBarycenter


def starts(
    method: WassersteinBarycenter,
    place: Place,
    group: PermutationGroup,
    couple: Couple,
    rng: np.random.Generator,
    mix: Sequence[float],
    plans: Plans | None = None,
) -> Iterator[Tensor]:
    """Yield as many starts as a method asks for, shape (blocks * target units, columns) each.

    Where plans are known from a sweep before, the units have places already: the starts are then one network's units
    there, and their mean.

    Parameters
    ----------
    method : WassersteinBarycenter
        Which start comes first, and how many there are.
    place : Place
        The networks' rows.
    group : PermutationGroup
        The target's.
    couple : Couple
        How a network is brought to the target's width.
    rng : numpy.random.Generator
        What is drawn comes from here.
    mix : sequence of float
        Shares.
    plans : tuple of array, optional
        Of the sweep before.
    """
    if plans is not None:
        network = method.start - 1 if isinstance(method.start, int) else 0
        yield mean_rows([place.rows[network]], [1.0], (plans[network],))
        yield mean_rows(place.rows, mix, plans)
        return
    networks = list(range(len(place.rows)))
    first = method.start - 1 if isinstance(method.start, int) else 0
    order = [] if method.start == "random" else [first, *(number for number in networks if number != first)]
    given = [place.start] if place.start is not None else []
    for number in range(method.starts):
        if number < len(given):
            yield given[number]
        elif number - len(given) < len(order):
            yield distilled(place.rows[order[number - len(given)]], group, couple, rng)
        else:
            yield drawn(place.rows, group, rng)


def distilled(rows: Rows, group: PermutationGroup, couple: Couple, rng: np.random.Generator) -> Tensor:
    """Return a network's rows, brought to the group's size where theirs is another."""
    size = len(rows.values) // group.blocks
    if size == group.size:
        return rows.values
    copies, rest = divmod(group.size, size)
    chosen = np.concatenate([np.tile(np.arange(size), copies), np.sort(rng.choice(size, rest, replace=False))])
    values = rows.values.reshape(group.blocks, size, -1)[:, torch.from_numpy(chosen)].flatten(0, 1)
    return barycenter([rows], [1.0], values, couple, blocks=group.blocks).rows


def drawn(rows: Sequence[Rows], group: PermutationGroup, rng: np.random.Generator) -> Tensor:
    """Return rows drawn from those of all networks."""
    blocks = group.blocks
    pool = torch.cat([one.values.reshape(blocks, len(one.values) // blocks, -1) for one in rows], dim=1)
    chosen = rng.choice(pool.shape[1], group.size, replace=group.size > pool.shape[1])
    return pool[:, torch.from_numpy(chosen)].flatten(0, 1)
