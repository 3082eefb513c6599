"""Barycenters of sets of rows: block-coordinate descent over plans and the barycenter's own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc.alignment.transport import order_of
from lmc.fusion.couple import Couple
from lmc.fusion.layers import Rows

Plans = tuple[NDArray[np.float64], ...]
"""For each network, shape (blocks, target units, units)."""


@dataclass(frozen=True, eq=False)
class Barycenter:
    """Rows of the fused layer, and how they were made.

    Parameters
    ----------
    rows : Tensor, shape (blocks * target units, columns)
        The barycenter.
    plans : tuple of array, shape (blocks, target units, units)
        One for each network; the mass of a block is one.
    trace : tuple of float
        The objective once plans were first found, and after every further step; it never rises.
    notes : tuple of str
        What has to be said of it.
    """

    rows: Tensor
    plans: Plans
    trace: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def objective(self) -> float:
        """What it ended at."""
        return self.trace[-1]


def barycenter(
    rows: Sequence[Rows],
    mix: Sequence[float],
    start: Tensor,
    couple: Couple,
    *,
    blocks: int = 1,
    iterations: int = 100,
    tolerance: float = 1e-9,
) -> Barycenter:
    r"""Descend from a start to a barycenter of sets of rows with as many rows as the start.

    .. math:: \min_{W, \pi^i} \; k \sum_i \lambda_i \sum_{jg} \pi^i_{jg} C^i_{jg}(W)

    Plans are optimal given the rows, then rows given the plans, :math:`W = k \sum_i \lambda_i \pi^i w^i`, until nothing
    improves; neither step can raise the objective (with Sinkhorn, the objective with its entropy).

    Parameters
    ----------
    rows : sequence of Rows
        One for each network.
    mix : sequence of float
        Shares, summing to one.
    start : Tensor, shape (blocks * target units, columns)
        First rows of the barycenter.
    couple : Couple
        How plans are found.
    blocks : int
        Number of parts of the rows that are never mixed with each other.
    iterations : int
        Most steps.
    tolerance : float
        Relative gain below which it stops.

    References
    ----------
    .. [1] Cuturi, Doucet. Fast Computation of Wasserstein Barycenters. ICML 2014, Alg. 2.
    """
    target = start
    best: Barycenter | None = None
    trace: list[float] = []
    notes: dict[str, None] = {}
    for _ in range(iterations):
        plans, value = plans_at(rows, mix, target, couple, blocks, notes)
        if best is not None and value >= best.objective - tolerance * abs(best.objective):
            break
        trace.append(value)
        target = mean_rows(rows, mix, plans)
        value = objective(rows, mix, target, plans, couple)
        trace.append(value)
        best = Barycenter(target, plans, tuple(trace))
    assert best is not None
    return Barycenter(best.rows, best.plans, best.trace, tuple(notes))


def mean_rows(rows: Sequence[Rows], mix: Sequence[float], plans: Plans) -> Tensor:
    """Return the rows that minimise the objective given plans, shape (blocks * target units, columns)."""
    total = torch.zeros(())
    for one, share, plan in zip(rows, mix, plans, strict=True):
        blocks, places, units = plan.shape
        values, makes = one.values.reshape(blocks, units, -1), plan * places
        order = order_of(makes) if places == units else None
        if order is None:
            total = total + share * (torch.from_numpy(makes) @ values)
        else:  # no product where units only change places
            total = total + share * torch.take_along_dim(values, torch.from_numpy(order)[..., None], 1)
    return total.flatten(0, 1)


def objective(rows: Sequence[Rows], mix: Sequence[float], target: Tensor, plans: Plans, couple: Couple) -> float:
    """Return the sum over target units of what they are away from the units they are made of."""
    total = 0.0
    for one, share, plan in zip(rows, mix, plans, strict=True):
        for block, cost in enumerate(block_costs(one, target, len(plan))):
            total += share * plan.shape[1] * (float((plan[block] * cost).sum()) + couple.penalty(plan[block]))
    return total


def block_costs(rows: Rows, target: Tensor, blocks: int) -> list[NDArray[np.float64]]:
    """Return the costs within each block, shape (target units, units) each."""
    values, squares = rows.values.chunk(blocks), rows.squares.chunk(blocks)
    return [
        Rows(one, square).cost(part) for one, square, part in zip(values, squares, target.chunk(blocks), strict=True)
    ]


def plans_at(
    rows: Sequence[Rows], mix: Sequence[float], target: Tensor, couple: Couple, blocks: int, notes: dict[str, None]
) -> tuple[Plans, float]:
    """Return optimal plans given the rows, and the objective there; what has to be said is added to the notes."""
    plans, total = [], 0.0
    for one, share in zip(rows, mix, strict=True):
        found = []
        for cost in block_costs(one, target, blocks):
            plan, note = couple.plan(cost)
            found.append(plan)
            total += share * len(plan) * (float((plan * cost).sum()) + couple.penalty(plan))
            notes.update({note: None} if note else {})
        plans.append(np.stack(found))
    return tuple(plans), total
