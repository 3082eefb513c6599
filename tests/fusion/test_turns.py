"""Barycenters in turns: what they are said to cost is what they cost, and joint fixed points are left."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lmc.fusion.couple import Couple
from lmc.fusion.free_support import barycenter, mean_rows, objective
from lmc.fusion.layers import Rows
from lmc.fusion.turns import in_turns


def drawn(sizes: tuple[int, ...], seed: int) -> list[Rows]:
    generator = torch.Generator().manual_seed(seed)
    return [Rows.plain(torch.randn(size, 5, generator=generator, dtype=torch.float64)) for size in sizes]


@pytest.mark.parametrize("sizes", [(12, 12, 12, 12), (12, 9, 15)])
@pytest.mark.parametrize("couple", [Couple(), Couple("sinkhorn", 0.5)], ids=lambda couple: couple.solver)
def test_in_turns_the_joint_objective_falls_and_is_what_it_is_said_to_be(sizes: tuple[int, ...], couple: Couple):
    rows = drawn(sizes, 0)
    mix = [0.5, *[0.5 / (len(sizes) - 1)] * (len(sizes) - 1)]
    joint = barycenter(rows, mix, rows[0].values, couple)
    found = in_turns(rows, mix, joint.plans, couple)
    torch.testing.assert_close(found.rows, mean_rows(rows, mix, found.plans))
    assert found.objective == pytest.approx(objective(rows, mix, found.rows, found.plans, couple))
    assert found.trace[0] == pytest.approx(joint.objective)
    assert all(after <= before for before, after in itertools.pairwise(found.trace))


def test_joint_fixed_points_are_left():
    gains = []
    for seed in range(5):
        rows, mix = drawn((12,) * 4, seed), [0.25] * 4
        joint = barycenter(rows, mix, rows[0].values, Couple())
        again = barycenter(rows, mix, joint.rows, Couple())
        assert again.objective == pytest.approx(joint.objective), "joint steps end here"
        gains.append(1 - in_turns(rows, mix, joint.plans, Couple()).objective / joint.objective)
    assert min(gains) >= 0 and max(gains) > 0.01


def test_of_two_networks_the_first_stays_and_the_other_is_matched_exactly():
    rows = drawn((12, 12), 3)
    order = np.random.default_rng(0).permutation(12)
    start = (np.eye(12)[None] / 12, np.eye(12)[order][None] / 12)
    found = in_turns(rows, [0.5, 0.5], start, Couple())
    best, _ = Couple().plan(rows[1].cost(rows[0].values))
    assert np.array_equal(found.plans[0], start[0]) and np.array_equal(found.plans[1][0], best)
