"""What it costs to put a unit of B where a unit of A is: layer by layer, forward, given how the layers before moved."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import StateDict
from lmc.alignment.capture import Moments
from lmc.alignment.families import Family, Worth
from lmc.alignment.transport import Maps, transport_one
from lmc.symmetry import Axis, PermutationSpec
from lmc.symmetry.sites import Roles

_MOST_ROWS = 4096
"""Rows of a family up to which every position of several dimensions is told from every other."""

Metric = Literal["euclidean", "sqeuclidean", "cosine"]


class Products:
    """Inner products of rows of A, of B and across, from which every metric follows; float64."""

    def __init__(self, squares_a: Tensor, squares_b: Tensor, cross: Tensor) -> None:
        self.squares_a, self.squares_b, self.cross = squares_a, squares_b, cross

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> Products:
        """Return the products of two sets of rows, shape (rows, features) each."""
        a, b = a.double(), b.double()
        return cls((a * a).sum(1), (b * b).sum(1), a @ b.T)

    @classmethod
    def seen(cls, moments: Moments) -> Products:
        """Return the products of two sets of activations."""
        return cls(moments.squares_a, moments.squares_b, moments.cross)

    @classmethod
    def joined(cls, products: Sequence[Products]) -> Products:
        """Return the products of rows laid one after the other: features of all."""
        return functools.reduce(operator.add, products)

    def __add__(self, other: Products) -> Products:
        """Rows one after the other: features of both."""
        return Products(self.squares_a + other.squares_a, self.squares_b + other.squares_b, self.cross + other.cross)

    def cost(self, metric: Metric) -> Tensor:
        """Return what every pair costs, shape (rows of A, rows of B), never negative; for cosine, zero rows cost 1."""
        if metric == "cosine":
            scale = (self.squares_a[:, None] * self.squares_b).sqrt()
            return (1 - torch.where(scale > 0, self.cross / scale.clamp(min=1e-300), 0.0)).clamp(min=0)
        squared = (self.squares_a[:, None] + self.squares_b - 2 * self.cross).clamp(min=0)
        return squared if metric == "sqeuclidean" else squared.sqrt()


class Layers:
    """A's weights, B's as far as they have been moved, and which groups are settled.

    Parameters
    ----------
    a, b : mapping of str to Tensor
        The two networks.
    spec : PermutationSpec
        All groups.
    roles : Roles
        Which axes make units.
    spec_b : PermutationSpec, optional
        B's groups, where its widths are others than A's.
    """

    def __init__(
        self, a: StateDict, b: StateDict, spec: PermutationSpec, roles: Roles, spec_b: PermutationSpec | None = None
    ) -> None:
        self.a, self.b, self.spec, self.roles = a, b, spec, roles
        self.spec_b = spec_b or spec
        self._settled: set[str] = set()
        self._maps: Maps = {}

    def settle(self, family: Family, moved: StateDict, maps: Maps | None = None) -> None:
        """Note that a family has found its place.

        Parameters
        ----------
        family : Family
            Which.
        moved : mapping of str to Tensor
            B with it moved.
        maps : mapping of str to (makes, reads), optional
            Between other widths: what is still to be carried, of all that is settled, when a tensor is looked at. Units
            that lie beside settled ones would not be found again in a tensor that is carried already.
        """
        self._settled |= family.names
        self.b, self._maps = moved, maps or {}

    def incoming(self, family: Family) -> dict[str, dict[str, Axis]]:
        """Return the tensors that make the family's units and read nothing that is not settled, with its axes there."""
        return incoming(family, self.spec, self.roles, self._settled)

    def products(self, family: Family) -> list[tuple[dict[str, Axis], tuple[int, ...], Products]]:
        """Return the products of the family's incoming weights, one set for each way its groups lie in tensors.

        A group that is alone has one set, over all the tensors that make it.
        """
        each = [
            (axes, tuple(self.a[name].shape), self._of(family, axes, name))
            for name, axes in self.incoming(family).items()
        ]
        if not family.alone or not each:
            return each
        return [(each[0][0], each[0][1], Products.joined([products for _, _, products in each]))]

    def _of(self, family: Family, axes: Mapping[str, Axis], name: str) -> Products:
        return Products.of(family.rows(axes, self.a[name]), self._rows_b(family, axes, name))

    def _rows_b(self, family: Family, axes: Mapping[str, Axis], name: str) -> Tensor:
        """Return B's rows, what they read carried to where it lies in A."""
        if self.spec_b is self.spec:
            return family.rows(axes, self.b[name])
        dims = {axis.dim for axis in axes.values()}
        read = {group for group, axis in self.spec.axes_of[name] if axis.dim not in dims}
        maps = {group: one for group, one in self._maps.items() if group in read}
        own = {g: axis for g, axis in self.spec_b.axes_of[name] if g in axes and axis.dim == axes[g].dim}
        return family.rows(own, transport_one(name, self.b[name], self.spec_b, self.spec, maps, self.roles))


def incoming(
    family: Family, spec: PermutationSpec, roles: Roles, settled: Collection[str]
) -> dict[str, dict[str, Axis]]:
    """Return the tensors that make a family's units and read only groups that are settled, with its axes there."""
    found: dict[str, dict[str, Axis]] = {}
    for group in family.groups:
        for axis in roles.made(group):
            others = {name for name, a in spec.axes_of[axis.param] if a.dim != axis.dim} - family.names
            twice = [a for n, a in spec.axes_of[axis.param] if n == group.name and a.dim != axis.dim]
            if axis.param not in spec.buffers and others <= set(settled) and not twice:
                found.setdefault(axis.param, {})[group.name] = axis
    return {name: _with_read(family, spec, name, axes) for name, axes in found.items()}


def _with_read(family: Family, spec: PermutationSpec, name: str, axes: dict[str, Axis]) -> dict[str, Axis]:
    """Add what a tensor reads of the family itself (grouped kernels): matched along, where that is not much."""
    whole = {group: axis for group, axis in spec.axes_of[name] if group in family.names}
    rows = math.prod(spec.shapes[name][dim] for dim in {axis.dim for axis in whole.values()})
    return whole if rows <= _MOST_ROWS else axes


def worths(places: Sequence[tuple[Mapping[str, Axis], tuple[int, ...], Products]], metric: Metric) -> list[Worth]:
    """Return costs as worths: minus the cost, at every place."""
    return [Worth(axes, shape, -products.cost(metric)) for axes, shape, products in places]


def blocks_of(family: Family, cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cost within each block, shape (blocks, size, size), or (blocks, places, units)."""
    blocks = family.groups[0].blocks
    whole = cost.reshape(blocks, len(cost) // blocks, blocks, cost.shape[1] // blocks)
    return np.stack([whole[block, :, block] for block in range(blocks)])
