"""Saddles and components, against an independent search for the bottleneck path on the same grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from minimax import bottleneck

from lmc._errors import GridError, UsageError
from lmc.barriers import components, escape_height, saddle_heights
from lmc.barriers.sublevel import resampled_saddles

# Few distinct values make ties and plateaus, many make none.
VALUES = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(-1e3, 1e3))
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
FIELDS = SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=VALUES))


@given(FIELDS, st.sampled_from([4, 8]), st.data())
@settings(max_examples=200, deadline=None)
def test_saddles_are_bottleneck_paths_exactly(field: np.ndarray, neighbours: int, data) -> None:
    places = st.tuples(*(st.integers(0, size - 1) for size in field.shape))
    nodes = data.draw(st.lists(places, min_size=1, max_size=4))
    found = saddle_heights(field, nodes, neighbours=neighbours)
    for row, start in enumerate(nodes):
        reached = bottleneck(field, start, neighbours)
        assert found[row].tolist() == [reached[node] for node in nodes]
    many = resampled_saddles(np.stack([field.ravel(), -field.ravel()]), nodes, field.shape, neighbours=neighbours)
    np.testing.assert_array_equal(many[0], found)
    np.testing.assert_array_equal(many[1], saddle_heights(-field, nodes, neighbours=neighbours))


@given(FIELDS, st.sampled_from([4, 8]), st.data())
@settings(max_examples=100, deadline=None)
def test_two_points_share_a_component_from_their_saddle_on(field: np.ndarray, neighbours: int, data) -> None:
    places = st.tuples(*(st.integers(0, size - 1) for size in field.shape))
    one, other = data.draw(places), data.draw(places)
    saddle = saddle_heights(field, [one, other], neighbours=neighbours)[0, 1]
    at = components(field, saddle, neighbours=neighbours)
    assert at[one] == at[other] > 0
    below = components(field, np.nextafter(saddle, -np.inf), neighbours=neighbours)
    assert below[one] == 0 or below[other] == 0 or below[one] != below[other]


@given(FIELDS, st.sampled_from([4, 8]), st.data())
@settings(max_examples=100, deadline=None)
def test_the_escape_is_the_lowest_saddle_to_the_border(field: np.ndarray, neighbours: int, data) -> None:
    node = data.draw(st.tuples(*(st.integers(0, size - 1) for size in field.shape)))
    reached = bottleneck(field, node, neighbours)
    border = np.ones(field.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    assert escape_height(field, node, neighbours=neighbours) == reached[border].min()


def test_a_pass_between_two_valleys_is_found_by_hand() -> None:
    field = np.array(
        [
            [0.0, 9.0, 1.0],
            [2.0, 9.0, 3.0],
            [9.0, 5.0, 4.0],
            [2.0, 9.0, 9.0],
        ]
    )
    assert saddle_heights(field, [(0, 0), (0, 2)])[0, 1] == 9
    assert saddle_heights(field, [(0, 0), (0, 2)], neighbours=8)[0, 1] == 5, "through two diagonals"
    assert components(field, 5).tolist() == [[1, 0, 2], [1, 0, 2], [0, 2, 2], [3, 0, 0]]
    assert components(field, 5, neighbours=8).max() == 1


def test_a_wrong_search_would_be_seen() -> None:
    """The sum along a path, the usual Dijkstra, or the straight line in place of the bottleneck differ here."""
    field = np.array([[0.0, 5.0, 0.0], [1.0, 1.0, 1.0]])
    assert saddle_heights(field, [(0, 0), (0, 2)])[0, 1] == 1
    assert field[0].max() == 5 and field[1].sum() == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_fields_that_have_no_saddle_are_refused(bad: float) -> None:
    field = np.zeros((3, 4))
    field[1, 2] = bad
    for call in (
        lambda: saddle_heights(field, [(0, 0)]),
        lambda: components(field, 1.0),
        lambda: escape_height(field, (0, 0)),
    ):
        with pytest.raises(GridError, match=r"not finite everywhere .* at \(1, 2\)"):
            call()


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(UsageError, match="4 or 8 neighbours, not 6"):
        saddle_heights(np.zeros((2, 2)), [(0, 0)], neighbours=6)
    with pytest.raises(GridError, match=r"Point \(2, 0\) is not on a grid of shape \(2, 2\)"):
        saddle_heights(np.zeros((2, 2)), [(0, 0), (2, 0)])
    with pytest.raises(GridError, match="Point"):
        saddle_heights(np.zeros((2, 2)), [(0, -1)])
    with pytest.raises(GridError, match="two dimensions"):
        components(np.zeros(3), 0.0)
