"""Wreath products: which axes may be permuted differently for each index of an outer axis.

Inside heads, inside convolution groups: an inner axis is free for every outer index on its own wherever no tensor holds
it without the outer axis, and no op pairs it up across different outer indices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from lmc.symmetry.axes import Leaf, leaves
from lmc.symmetry.places import Branch, places
from lmc.symmetry.walk import Trace, Value


def outer_axes(trace: Trace) -> dict[Leaf, tuple[Leaf, ...]]:
    """Find the outer axes of every free leaf that has any.

    Parameters
    ----------
    trace : Trace
        Of a finished walk.

    Returns
    -------
    dict
        Inner leaf to its outer leaves, outermost first; the outer ones may be free or frozen.
    """
    layouts = [layout for value in trace.values for layout in _layouts(value)]
    partners: dict[Leaf, set[Leaf]] = {}
    for layout in layouts:
        for leaf in {leaf for branches in layout for branch in branches for leaf in branch}:
            found = _companions(leaf, layout)
            partners[leaf] = partners[leaf] & found if leaf in partners else found
    for pairs in trace.pairs:
        matched = {leaf for pair in pairs for axis in pair for leaf in leaves(axis)}
        for leaf in matched & partners.keys():
            partners[leaf] &= matched
    rank = _ranks(layouts)
    found = {}
    for leaf, outers in partners.items():
        if leaf.frozen is None and leaf.size > 1:
            kept = {o for o in outers if o.size > 1 and rank(o, leaf) < 0}
            if kept:
                found[leaf] = tuple(sorted(kept, key=lambda o: sum(rank(other, o) < 0 for other in kept)))
    return found


Layout = Sequence[Sequence[Branch]]
"""Branches of every dimension of one tensor."""


def _layouts(value: Value) -> Iterator[Layout]:
    if value.uniform:
        return
    for one in value.apart():
        yield [[branch for branch, _ in places(axis)] for axis in one.axes]


def _companions(leaf: Leaf, layout: Layout) -> set[Leaf]:
    """Return the leaves that come with every occurrence of a leaf in one tensor, each exactly once."""
    dims = [dim for dim, branches in enumerate(layout) if any(leaf in branch for branch in branches)]
    beside = [set.intersection(*map(set, branches)) if branches else set() for branches in layout]
    found: set[Leaf] | None = None
    for dim in dims:
        elsewhere = [beside[other] for other in range(len(layout)) if other != dim]
        anywhere = {o for other, branches in enumerate(layout) if other != dim for branch in branches for o in branch}
        for branch in layout[dim]:
            if leaf not in branch:
                continue
            if branch.count(leaf) > 1:
                return set()
            own = {o for o in branch if o is not leaf and branch.count(o) == 1}
            # In another dimension only where that is unmistakable: one occurrence each, of both.
            across = {o for held in elsewhere for o in held if sum(o in h for h in elsewhere) == 1}
            joined = own - anywhere
            if len(dims) == 1:
                joined |= {o for o in across if o not in branch}
            else:
                joined = own
            found = joined if found is None else found & joined
    return found or set()


def _ranks(layouts: Iterable[Layout]) -> Callable[[Leaf, Leaf], int]:
    """Return a comparison: negative where the first leaf lies outside of the second in every tensor with both."""
    outside: set[tuple[Leaf, Leaf]] = set()
    for layout in layouts:
        multiplied = {pair for dim in layout for branch in dim for pair in itertools.combinations(branch, 2)}
        across = itertools.combinations([{leaf for branch in dim for leaf in branch} for dim in layout], 2)
        apart = {pair for held, later in across for pair in itertools.product(held, later)}
        # Where two leaves are multiplied in one dimension, that says which is outside, whatever other dimensions hold.
        outside |= multiplied | {(a, b) for a, b in apart if {(a, b), (b, a)}.isdisjoint(multiplied)}
    return lambda a, b: ((b, a) in outside) - ((a, b) in outside)
