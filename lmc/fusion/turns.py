"""Barycenters improved in turns: one network after the other is moved to the mean of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lmc.fusion.couple import Couple
from lmc.fusion.free_support import Barycenter, Plans, mean_rows, plans_at
from lmc.fusion.layers import Rows


def in_turns(
    rows: Sequence[Rows],
    mix: Sequence[float],
    plans: Plans,
    couple: Couple,
    *,
    rounds: int = 100,
    tolerance: float = 1e-9,
) -> Barycenter:
    r"""Descend from plans: each network in turn is coupled to the barycenter of the others, if the objective falls.

    .. math:: \pi^i \leftarrow OT\Bigl(\sum_{j \ne i} \lambda_j k \pi^j w^j / (1 - \lambda_i),\; w^i\Bigr)

    A network is a part of the barycenter that it is compared with, and is held by that part where it is, so that joint
    steps stop early. Compared with the others alone it is not held. What has to fall is the joint objective, with the
    best rows for the plans, which is what the network is away from the others where plans are permutations.

    Parameters
    ----------
    rows : sequence of Rows
        One for each network.
    mix : sequence of float
        Shares, summing to one.
    plans : tuple of array, shape (blocks, target units, units) each
        Where it begins.
    couple : Couple
        How plans are found.
    rounds : int
        Most turns of every network.
    tolerance : float
        Relative gain below which a step is not taken.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin. ICLR 2023, Alg. 2: whole permutations in place of plans.
    """
    held, told = list(plans), dict[str, None]()
    parts = [share * mean_rows([one], [1.0], (plan,)) for one, share, plan in zip(rows, mix, held, strict=True)]
    flat = [_spread(one, share, plan, couple) for one, share, plan in zip(rows, mix, held, strict=True)]
    total = mean_rows(rows, mix, plans)
    value = sum(flat) - _square(total)
    path = [value]
    moving = [number for number in range(_fixed(held, couple), len(rows)) if 0 < mix[number] < 1]
    moves, seen = 0, dict.fromkeys(moving, -1)
    for number in moving * rounds:
        if seen[number] == moves:  # nothing has moved since: the same step again
            continue
        one, share, rest = rows[number], mix[number], total - parts[number]
        (plan,), _ = plans_at([one], [1.0], rest / (1 - share), couple, len(held[number]), told)
        seen[number] = moves
        if np.array_equal(plan, held[number]):
            continue
        part, own = share * mean_rows([one], [1.0], (plan,)), _spread(one, share, plan, couple)
        after = sum(flat) - flat[number] + own - _square(rest + part)
        if after < value - tolerance * abs(value):
            held[number], parts[number], flat[number], total, value = plan, part, own, rest + part, after
            moves += 1
            seen[number] = moves
            path.append(value)
    return Barycenter(total, tuple(held), (*path, value), tuple(told))


def _fixed(plans: Sequence[NDArray[np.float64]], couple: Couple) -> int:
    """Return how many networks may be held: of two that are permuted only their relative order counts."""
    square = all(plan.shape[1] == plan.shape[2] for plan in plans)
    return int(len(plans) == 2 and couple.solver == "emd" and square)


def _spread(rows: Rows, share: float, plan: NDArray[np.float64], couple: Couple) -> float:
    """Return what a network adds to the objective at the best rows, before the square of these is taken off."""
    squares = rows.squares.numpy().reshape(len(plan), 1, -1)
    return share * plan.shape[1] * (float((plan * squares).sum()) + sum(couple.penalty(one) for one in plan))


def _square(rows: Tensor) -> float:
    return float((rows * rows).sum())
