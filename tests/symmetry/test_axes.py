"""The axis algebra: permuting before an op that moves numbers around equals permuting after it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmc.symmetry.axes import Leaf, Part, Product, Sum, freeze, leaves, reshape, resolve, split, unify
from lmc.symmetry.places import settle, slots


def permuted(array: np.ndarray, axes, perms: dict) -> np.ndarray:
    """Permute every dimension as its axis says; leaves without a permutation stay."""
    for dim, axis in enumerate(axes):
        for leaf in set(leaves(axis)) & perms.keys():
            positions = slots(axis, leaf)
            index = np.arange(array.shape[dim])
            index[positions] = positions[..., perms[leaf]]
            array = np.take(array, index, axis=dim)
    return array


def random_perms(axes, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    found = {leaf for axis in axes for leaf in leaves(axis) if leaf.frozen is None}
    return {leaf: rng.permutation(leaf.size) for leaf in sorted(found, key=id)}


SIZES = st.sampled_from([1, 2, 3, 4, 6])


@given(st.lists(SIZES, min_size=1, max_size=4), st.integers(0, 10), st.randoms())
def test_reshape_commutes_with_permuting(sizes, seed, rnd):
    """Whatever reshape refines, the same permutation acts on both sides of it."""
    total = math.prod(sizes)
    target, rest = [], total
    while rest > 1:
        factor = rnd.choice([d for d in range(2, rest + 1) if rest % d == 0])
        target.append(factor)
        rest //= factor
    axes = [Leaf(size) for size in sizes]
    after = reshape(axes, target)
    assert tuple(axis.size for axis in after) == tuple(target)
    perms = random_perms([*axes, *after], seed)
    array = np.arange(total).reshape(sizes)
    assert np.array_equal(permuted(array, axes, perms).reshape(target), permuted(array.reshape(target), after, perms))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 10), st.data())
def test_cutting_a_sum_anywhere_commutes_with_permuting(sizes, seed, data):
    """The two pieces of a cut are permuted as the whole was."""
    axis = Sum(tuple(Leaf(size) for size in sizes))
    if axis.size < 2:
        return
    at = data.draw(st.integers(1, axis.size - 1))
    first, second = split(axis, at)
    perms = random_perms([first, second], seed)
    whole = permuted(np.arange(axis.size), [axis], perms)
    assert np.array_equal(whole[:at], permuted(np.arange(at), [first], perms))
    assert np.array_equal(whole[at:] - at, permuted(np.arange(axis.size - at), [second], perms))


def test_unification_reaches_every_occurrence():
    a, b, c = Leaf(6), Leaf(6), Leaf(6)
    unify(a, b)
    unify(b, c)
    freeze(c, "why not")
    assert resolve(a) is resolve(c)
    assert resolve(a).frozen == "why not"


def test_products_meet_in_their_common_refinement():
    a, b = Product((Leaf(6), Leaf(4))), Product((Leaf(3), Leaf(8)))
    unify(a, b)
    assert [leaf.size for leaf in leaves(a)] == [3, 2, 4]
    assert list(leaves(a)) == list(leaves(b))


def test_products_without_common_refinement_are_frozen():
    a, b = Product((Leaf(2), Leaf(3))), Product((Leaf(3), Leaf(2)))
    unify(a, b)
    assert all(leaf.frozen for leaf in [*leaves(a), *leaves(b)])


def test_a_sum_met_with_a_product_cuts_its_outer_factor():
    inner = Leaf(4)
    product, total = Product((Leaf(3), inner)), Sum((Leaf(4), Leaf(8)))
    unify(total, product)
    assert [leaf.size for leaf in leaves(total)] == [4, 2, 4]
    expected = [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]
    assert slots(total, inner).tolist() == slots(product, inner).tolist() == expected


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="6 and 4"):
        unify(Leaf(6), Leaf(4))


def padded(size: int, front: int, back: int) -> tuple[Sum, Leaf, Leaf]:
    middle, new = Leaf(size), Leaf(front + back)
    return Sum((Part(new, 0, front), middle, Part(new, front, front + back))), middle, new


def test_scattered_parts_are_permuted_among_each_other():
    axis, middle, new = padded(3, 2, 2)
    assert slots(axis, new).tolist() == [[[0, 1, 5, 6]]]
    assert slots(axis, middle).tolist() == [[[2, 3, 4]]]


def test_parts_that_go_separate_ways_are_cut_apart():
    """Sliced off, the front alone cannot be permuted together with the back."""
    axis, _, new = padded(3, 2, 2)
    front, _ = split(axis, 2)
    other = Leaf(2)
    unify(front, other)
    settle([axis, other])
    assert resolve(new).size == 4
    assert [leaf.size for leaf in leaves(axis)] == [2, 3, 2]
    assert slots(axis, resolve(other)).tolist() == [[[0, 1]]]


def test_a_stray_part_is_cut_from_its_leaf():
    axis, _, new = padded(3, 2, 2)
    stray = Part(new, 0, 2)
    settle([axis, stray])
    assert isinstance(resolve(stray), Leaf)
    assert slots(axis, resolve(stray)).tolist() == [[[0, 1]]]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_slots_of_a_product_cover_every_position_once(a, b, c):
    axis = Product((Leaf(a), Leaf(b), Leaf(c)))
    for leaf in leaves(axis) if a * b * c > 1 else ():
        positions = slots(axis, leaf)
        assert sorted(positions.ravel()) == list(range(a * b * c))
        assert positions.shape == (1, a * b * c // leaf.size, leaf.size)


def test_blocks_are_told_apart_by_their_outer_leaves():
    outer, middle, inner = Leaf(2), Leaf(2), Leaf(3)
    axis = Sum((Leaf(1), Product((outer, middle, inner))))
    by_outer = slots(axis, inner, (outer,))
    assert by_outer.tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]
    by_both = slots(axis, inner, (middle, outer))
    assert by_both[:, 0].tolist() == [[1, 2, 3], [7, 8, 9], [4, 5, 6], [10, 11, 12]]
    assert slots(axis, Leaf(3)) is None
