"""The axis algebra: what a tensor dimension is made of, and what must be permuted together.

An axis is a *leaf* (a run of interchangeable positions), a *product* (what reshape makes: channels x height x width), a
*sum* (what concatenation makes) or a *part* of a leaf that lies scattered in a sum (zero-padded channels: front and
back are interchangeable with each other). Leaves are unified like logic variables: two axes that an op pairs up become
one, and a leaf that meets a composite axis of its size is refined into it, everywhere it occurs.

Whatever cannot be paired up exactly is frozen: that costs symmetry, never correctness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(eq=False, slots=True)
class Leaf:
    """A run of ``size`` positions, interchangeable unless ``frozen`` says why not."""

    size: int
    frozen: str | None = None
    bound: Term | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False, slots=True)
class Product:
    """Outer factor first: position = (i0 * s1 + i1) * s2 + ..."""

    factors: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Number of positions."""
        return math.prod(factor.size for factor in self.factors)


@dataclass(frozen=True, eq=False, slots=True)
class Sum:
    """Parts laid one after the other."""

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Number of positions."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Positions ``start`` to ``stop`` of a leaf whose other positions lie elsewhere in the same dimension."""

    leaf: Leaf
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of positions."""
        return self.stop - self.start


Term: TypeAlias = Leaf | Product | Sum | Part


def resolve(axis: Term) -> Term:
    """Return what the axis has become by now: leaves looked up, nesting flattened, factors of size one dropped."""
    if isinstance(axis, Leaf):
        if axis.bound is None:
            return axis
        axis.bound = resolve(axis.bound)
        return axis.bound
    if isinstance(axis, Part):
        return _resolve_part(axis)
    if isinstance(axis, Product):
        factors = tuple(_flat(Product, (resolve(f) for f in axis.factors if f.size != 1)))
        return Leaf(1) if not factors else factors[0] if len(factors) == 1 else Product(factors)
    parts = tuple(_flat(Sum, (resolve(p) for p in axis.parts if p.size != 0)))
    return parts[0] if len(parts) == 1 else Sum(parts)


def _flat(kind: type[Product | Sum], axes: Iterator[Term]) -> Iterator[Term]:
    for axis in axes:
        if isinstance(axis, kind):
            yield from axis.factors if isinstance(axis, Product) else axis.parts  # type: ignore[union-attr]
        else:
            yield axis


def _resolve_part(part: Part) -> Term:
    """Look the leaf up; where it was refined meanwhile, the part is the matching stretch of the refinement."""
    whole = resolve(part.leaf)
    if part.size == whole.size:
        return whole
    if isinstance(whole, Leaf):
        return Part(whole, part.start, part.stop)
    _, rest = split(whole, part.start) if part.start else (None, whole)
    return resolve(split(rest, part.size)[0] if part.size < rest.size else rest)


def leaves(axis: Term) -> Iterator[Leaf]:
    """Yield every leaf the axis is made of, left to right; a leaf that occurs twice comes twice."""
    axis = resolve(axis)
    if isinstance(axis, Leaf):
        yield axis
    elif isinstance(axis, Part):
        yield axis.leaf
    else:
        for inner in axis.factors if isinstance(axis, Product) else axis.parts:
            yield from leaves(inner)


def freeze(axis: Term, reason: str) -> None:
    """Make every position of the axis stay where it is; the first reason given is the one kept."""
    for leaf in leaves(axis):
        if leaf.frozen is None:
            leaf.frozen = reason


def unify(a: Term, b: Term) -> None:
    """Make two axes one: from now on they are permuted alike. What cannot be matched position by position is frozen.

    Raises
    ------
    ValueError
        If the sizes differ: the rule that asks is wrong.
    """
    a, b = resolve(a), resolve(b)
    if a.size != b.size:
        raise ValueError(f"axes of sizes {a.size} and {b.size} cannot be one")
    if a is b or a.size == 1:
        return
    if isinstance(a, Leaf) or isinstance(b, Leaf):
        _bind(*((a, b) if isinstance(a, Leaf) else (b, a)))  # type: ignore[arg-type]
    elif isinstance(a, Part) or isinstance(b, Part):
        _unify_part(*((a, b) if isinstance(a, Part) else (b, a)))  # type: ignore[arg-type]
    elif isinstance(a, Product) and isinstance(b, Product):
        _unify_products(a, b)
    else:
        _unify_sums(*((a, b) if isinstance(a, Sum) else (b, a)))  # type: ignore[arg-type]


def _bind(leaf: Leaf, axis: Term) -> None:
    if leaf.frozen is not None:
        freeze(axis, leaf.frozen)
    elif isinstance(axis, Part):
        # The leaf may occur where the rest of the part's leaf does not: cut that leaf at the part's ends.
        axis = detach(axis)
        unify(leaf, axis)
        return
    leaf.bound = axis


def detach(part: Part) -> Term:
    """Give the part positions of its own, by refining its leaf into a sum."""
    leaf = part.leaf
    cuts = [part.start, part.stop - part.start, leaf.size - part.stop]
    leaf.bound = Sum(tuple(Leaf(size, leaf.frozen) for size in cuts if size))
    return resolve(part)


def _unify_part(part: Part, other: Term) -> None:
    if isinstance(other, Part) and (other.leaf, other.start, other.stop) == (part.leaf, part.start, part.stop):
        return
    unify(detach(part), other)


def _unify_products(a: Product, b: Product) -> None:
    left: list[Term] = list(a.factors)
    right: list[Term] = list(b.factors)
    while left and right:
        size = min(left[0].size, right[0].size)
        heads = []
        for factors in (left, right):
            if factors[0].size != size:
                factors[0:1] = _factor(factors[0], size)
            heads.append(factors.pop(0))
        if heads[0].size != heads[1].size:  # the sizes do not divide: no common refinement
            freeze(a, "reshaped into incompatible factors")
            freeze(b, "reshaped into incompatible factors")
            return
        unify(*heads)


def _factor(axis: Term, outer: int) -> tuple[Term, ...]:
    """Refine an axis into ``outer`` x rest; unchanged and frozen where it cannot be."""
    axis = resolve(axis)
    inner, remainder = divmod(axis.size, outer)
    if remainder:
        freeze(axis, "reshaped into incompatible factors")
        return (axis,)
    if outer == 1 or inner == 1:
        return (axis,)
    if isinstance(axis, Leaf):
        axis.bound = Product((Leaf(outer, axis.frozen), Leaf(inner, axis.frozen)))
        return axis.bound.factors
    if isinstance(axis, Product):
        done: list[Term] = []
        for position, factor in enumerate(axis.factors):
            if outer % factor.size == 0:
                done.append(factor)
                outer //= factor.size
                if outer == 1:
                    return (_product(done), _product(axis.factors[position + 1 :]))
                continue
            pair = _factor(factor, outer) if factor.size % outer == 0 else ()
            if len(pair) != 2:
                break
            return (_product([*done, pair[0]]), _product([pair[1], *axis.factors[position + 1 :]]))
    if isinstance(axis, Sum) and all(part.size % inner == 0 for part in axis.parts):
        shared = Leaf(inner)
        for part in axis.parts:
            unify(part, Product((Leaf(part.size // inner), shared)))
        outers = [_outer(part, inner) for part in axis.parts]
        if all(outer is not None for outer in outers):
            return (Sum(tuple(outer for outer in outers if outer is not None)), shared)
    freeze(axis, "reshaped into incompatible factors")
    return (axis,)


def _outer(part: Term, inner: int) -> Term | None:
    """Return the outer factor of a part that was refined into outer x inner, or None where it could not be."""
    if part.size == inner:
        return Leaf(1)
    pair = _factor(part, part.size // inner)
    return pair[0] if len(pair) == 2 else None


def _product(factors: Sequence[Term]) -> Term:
    return resolve(Product(tuple(factors)))


def _unify_sums(a: Sum, b: Term) -> None:
    """Cut both at each other's ends; pieces that lie on each other become one."""
    rest_a: list[Term] = list(a.parts)
    rest_b: list[Term] = list(b.parts) if isinstance(b, Sum) else [b]
    while rest_a and rest_b:
        first_a, first_b = resolve(rest_a[0]), resolve(rest_b[0])
        size = min(first_a.size, first_b.size)
        heads = []
        for rest, first in ((rest_a, first_a), (rest_b, first_b)):
            pieces = split(first, size) if first.size > size else (first,)
            rest[0:1] = pieces
            heads.append(rest.pop(0))
        unify(*heads)


def split(axis: Term, at: int) -> tuple[Term, Term]:
    """Cut an axis in two, refining it; where the cut falls inside a block that has to stay whole, freeze it.

    Parameters
    ----------
    axis : Term
        What is cut.
    at : int
        Positions in the first piece, between 1 and ``axis.size - 1``.

    Returns
    -------
    tuple of Term
        The two pieces; laid one after the other they are the axis.
    """
    axis = resolve(axis)
    if isinstance(axis, Leaf):
        axis.bound = Sum((Leaf(at, axis.frozen), Leaf(axis.size - at, axis.frozen)))
        return axis.bound.parts  # type: ignore[return-value]
    if isinstance(axis, Part):
        return split(detach(axis), at)
    if isinstance(axis, Sum):
        return _split_sum(axis, at)
    inner = math.prod(factor.size for factor in axis.factors[1:])
    if at % inner == 0:
        first, second = split(axis.factors[0], at // inner)
        return _product([first, *axis.factors[1:]]), _product([second, *axis.factors[1:]])
    freeze(axis, "cut inside a block")
    return Leaf(at, "cut inside a block"), Leaf(axis.size - at, "cut inside a block")


def _split_sum(axis: Sum, at: int) -> tuple[Term, Term]:
    before: list[Term] = []
    for position, part in enumerate(axis.parts):
        after = axis.parts[position + 1 :]
        if at < part.size and at:
            first, second = split(part, at)
            return resolve(Sum((*before, first))), resolve(Sum((second, *after)))
        if at == 0:
            return resolve(Sum(tuple(before))), resolve(Sum((part, *after)))
        before.append(part)
        at -= part.size
    raise ValueError("a cut beyond the end of the axis")


def reshape(axes: Sequence[Term], sizes: Sequence[int]) -> tuple[Term, ...]:
    """Give the axes of a tensor after ``reshape(sizes)``: factors are regrouped, and refined where they must be.

    Parameters
    ----------
    axes : sequence of Term
        Before, outermost first.
    sizes : sequence of int
        The shape after; same number of positions.

    Returns
    -------
    tuple of Term
        One per entry of ``sizes``.
    """
    whole = resolve(Product(tuple(axes)))
    rest: list[Term] = list(whole.factors) if isinstance(whole, Product) else [whole] if whole.size > 1 else []
    result: list[Term] = []
    for size in sizes:
        taken: list[Term] = []
        need = size
        while need > 1 and rest:
            head = resolve(rest[0])
            if need % head.size == 0:
                taken.append(rest.pop(0))
                need //= head.size
                continue
            pair = _factor(head, need) if head.size % need == 0 else ()
            if len(pair) != 2:
                if not _fuse(rest):
                    return _opaque(axes, sizes)
                continue
            taken.append(pair[0])
            rest[0:1] = [pair[1]]
            need = 1
        result.append(_product(taken))
    return tuple(result)


def _fuse(rest: list[Term]) -> bool:
    """Make the first two axes one where both are frozen: positions that stay can be regrouped at will."""
    heads = [resolve(axis) for axis in rest[:2]]
    if len(heads) < 2 or not all(leaf.frozen for head in heads for leaf in leaves(head)):
        return False
    rest[0:2] = [Leaf(heads[0].size * heads[1].size, next(leaves(heads[0])).frozen)]
    return True


def _opaque(axes: Sequence[Term], sizes: Sequence[int]) -> tuple[Term, ...]:
    reason = "reshaped into incompatible factors"
    for axis in axes:
        freeze(axis, reason)
    return tuple(Leaf(size, reason) for size in sizes)
