"""Grids on a plane: modes exactly on it, nearly square cells, areas that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc._errors import GridError
from lmc.barriers import make_plane_grid
from lmc.barriers.plane_grid import cell_areas, nodes_of

PLACES = st.tuples(st.floats(0.1, 50), st.floats(-50, 50), st.floats(0.1, 50))


@given(PLACES, st.integers(3, 40), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_every_mode_is_a_point_of_the_grid(places: tuple[float, float, float], resolution: int, margin: float) -> None:
    b, along, above = places
    modes = np.array([[0.0, 0.0], [b, 0.0], [along, above]])
    u, v = make_plane_grid(modes, resolution=resolution, margin=margin)
    nodes = nodes_of(modes, u, v)
    np.testing.assert_array_equal(np.stack([u[nodes[:, 0]], v[nodes[:, 1]]], axis=-1), modes)
    assert (np.diff(u) > 0).all() and (np.diff(v) > 0).all()
    span = max(np.ptp(modes[:, 0]), np.ptp(modes[:, 1]))
    low, high = modes.min(axis=0), modes.max(axis=0)
    np.testing.assert_allclose([u[0], v[0]], low - margin * span)
    np.testing.assert_allclose([u[-1], v[-1]], high + margin * span)
    step = span * (1 + 2 * margin) / (resolution - 1)
    for axis in (u, v):
        assert np.diff(axis).max() <= 1.5 * step * (1 + 1e-9), "rounding to whole steps is all that bends the grid"
    assert max(u.size, v.size) <= resolution + 4
    areas = cell_areas(u, v)
    assert areas.shape == (u.size, v.size)
    assert areas.sum() == pytest.approx(np.ptp(u) * np.ptp(v))


def test_around_one_mode_the_margin_is_the_reach() -> None:
    u, v = make_plane_grid(np.zeros((1, 2)), resolution=5)
    assert u.tolist() == v.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert make_plane_grid(np.zeros((1, 2)), resolution=6, margin=2)[0].tolist() == [-2, -1, 0, 1, 2]


def test_what_makes_no_grid_is_refused() -> None:
    modes = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    for settings_, told in (
        ({"resolution": 2}, "resolution of 2"),
        ({"resolution": 4.5}, "resolution"),
        ({"margin": 0.0}, "more than 0"),
        ({"margin": float("nan")}, "margin"),
    ):
        with pytest.raises(GridError, match=told):
            make_plane_grid(modes, **settings_)
    with pytest.raises(GridError, match="not on the grid: add its v"):
        nodes_of(modes, np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.9]))
