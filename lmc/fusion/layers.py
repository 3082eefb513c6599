"""Layers of several networks seen from the fused one: rows of units, their inputs carried to where the target's lie.

What it costs to make a target unit of a network's unit follows from these rows; any method that walks through the
layers (Wasserstein, fused Gromov-Wasserstein) takes them from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmc._types import StateDict
from lmc.alignment.families import Family, families
from lmc.alignment.transport import transport_one
from lmc.alignment.unit_costs import Metric, Products, incoming
from lmc.fusion.problem import Problem
from lmc.symmetry import Axis, PermutationSpec
from lmc.symmetry.sites import Sighting


@dataclass(frozen=True, eq=False)
class Rows:
    r"""Units of one network as rows, in the target's columns.

    Where a soft coupling put several inputs at one place, a row is their mean, and ``squares`` the mean of their
    squares summed over columns: what is missing from the row's own square is their spread.

    Parameters
    ----------
    values : Tensor, shape (units, columns)
        float64, on the CPU.
    squares : Tensor, shape (units,)
        Never less than the square of the row.
    """

    values: Tensor
    squares: Tensor

    @classmethod
    def plain(cls, values: Tensor) -> Rows:
        """Return rows without spread."""
        return cls(values, (values * values).sum(1))

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return rows laid one after the other: the columns of all."""
        squares = torch.stack([one.squares for one in parts]).sum(0)
        return cls(torch.cat([one.values for one in parts], dim=1), squares)

    def times(self, factor: float) -> Rows:
        """Return the rows times a factor."""
        return self if factor == 1 else Rows(factor * self.values, factor**2 * self.squares)

    def cost(self, target: Tensor, metric: Metric = "sqeuclidean") -> NDArray[np.float64]:
        r"""Return what every pair costs, shape (target units, units), never negative.

        .. math:: C_{jg} = \sum_{ab} k \pi_{ab} (W_{ja} - W^i_{gb})^2
            = \lVert W_j \rVert^2 + s_g - 2 \langle W_j, w_g \rangle

        with :math:`\pi` the coupling of the layer before, :math:`k` its target units, :math:`w` the rows and :math:`s`
        the squares: the definition's four indices are never written out.

        Parameters
        ----------
        target : Tensor, shape (target units, columns)
            Rows of the fused network.
        metric : {"sqeuclidean", "euclidean", "cosine"}
            The formula is that of the first; the others follow from the same products.
        """
        products = Products((target * target).sum(1), self.squares, target @ self.values.T)
        return products.cost(metric).numpy()


@dataclass(frozen=True, eq=False)
class Place:
    """Where units of a family are compared: their rows in every network.

    Parameters
    ----------
    axes : mapping of str to Axis
        Group name to where it lies in the target's tensor.
    shape : tuple of int
        Shape of that tensor.
    rows : tuple of Rows
        One for each network.
    start : Tensor, optional
        Rows of the fused network to start from, where some were given.
    """

    axes: Mapping[str, Axis]
    shape: tuple[int, ...]
    rows: tuple[Rows, ...]
    start: Tensor | None = None


class Layers:
    """The networks of a problem, and how far their groups have been carried to the target's places.

    Parameters
    ----------
    problem : Problem
        Networks and the target's spec.
    initial : state dict, optional
        A network of the target's widths to start from.

    Raises
    ------
    SymmetryError
        If the target's spec has no graph.
    """

    both: bool
    """Whether units are compared by what reads them as well, where that is settled."""

    def __init__(self, problem: Problem, initial: StateDict | None = None) -> None:
        self.problem, self.initial = problem, initial
        self.target: PermutationSpec = problem.target
        self.roles = Sighting(problem.target).roles()
        self.families = families(problem.target)
        self.both = False
        self.makes: list[dict[str, NDArray[np.float64]]] = [{} for _ in problem.states]

    @property
    def settled(self) -> set[str]:
        """Names of the groups whose couplings are known."""
        return set(self.makes[0]) if self.makes else set()

    def settle(self, network: int, makes: Mapping[str, NDArray[np.float64]]) -> None:
        """Take how target units are made of a network's, group name to matrix, shape (blocks, target units, units)."""
        self.makes[network].update(makes)

    def incoming(self, family: Family) -> dict[str, dict[str, Axis]]:
        """Return the tensors that make a family's units and read only what is settled, with its axes in the target.

        With ``both``, also those that read its units and whose other groups are settled.
        """
        settled = self.settled - family.names
        found = incoming(family, self.target, self.roles, settled)
        return {**found, **self._reading(family, settled)} if self.both and family.alone else found

    def _reading(self, family: Family, settled: set[str]) -> dict[str, dict[str, Axis]]:
        group = family.groups[0]
        found: dict[str, dict[str, Axis]] = {}
        for axis in group.axes:
            held = self.target.axes_of[axis.param]
            makes = (axis.param, axis.dim, group.name) in self.roles.makes
            alone = sum(name == group.name for name, _ in held) == 1
            known = {name for name, other in held if other.dim != axis.dim} <= settled
            if axis.param not in self.target.buffers and not makes and alone and known:
                found[axis.param] = {group.name: axis}
        return found

    def places(self, family: Family) -> list[Place]:
        """Return the rows of a family, one place for each tensor; one in all for a group that is matched alone."""
        found = [self._place(family, name, axes) for name, axes in self.incoming(family).items()]
        if not family.alone or len(found) < 2:
            return found
        starts = [place.start for place in found if place.start is not None]
        rows = tuple(Rows.joined(parts) for parts in zip(*(place.rows for place in found), strict=True))
        return [Place(found[0].axes, found[0].shape, rows, torch.cat(starts, 1) if starts else None)]

    def _place(self, family: Family, name: str, axes: dict[str, Axis]) -> Place:
        rows = tuple(
            self.rows(family, name, axes, number).times(self._stands_for(axes, number))
            for number in range(len(self.problem.states))
        )
        start = None if self.initial is None else family.rows(axes, self.initial[name].detach().double().cpu())
        return Place(axes, self.target.shapes[name], rows, start)

    def _stands_for(self, axes: Mapping[str, Axis], network: int) -> float:
        """Return how many units of a network a target unit stands for, where a tensor reads it: that is split."""
        (group, axis), *more = axes.items()
        if more or (axis.param, axis.dim, group) in self.roles.makes:
            return 1.0
        return self.problem.specs[network][group].size / self.target[group].size

    def rows(self, family: Family, name: str, axes: Mapping[str, Axis], network: int) -> Rows:
        """Return the rows of one network in one tensor, what it reads carried to the target's places.

        Parameters
        ----------
        family : Family
            Whose units are the rows.
        name : str
            The tensor.
        axes : mapping of str to Axis
            The family's axes in the target's tensor of that name.
        network : int
            Number of the network, from 0.
        """
        spec = self.problem.specs[network]
        tensor = self.problem.states[network][name].detach().double().cpu()
        dims = {axis.dim for axis in axes.values()}
        read = {group for group, axis in self.target.axes_of[name] if axis.dim not in dims}
        maps = {group: (matrix, matrix) for group, matrix in self.makes[network].items() if group in read}
        own = {group: axis for group, axis in spec.axes_of[name] if group in axes and axis.dim == axes[group].dim}

        def moved(one: Tensor) -> Tensor:
            return family.rows(own, transport_one(name, one, spec, self.target, maps, self.roles))

        values = moved(tensor)
        soft = any(not is_hard(matrix) for matrix, _ in maps.values())
        return Rows(values, moved(tensor * tensor).sum(1)) if soft else Rows.plain(values)


def is_hard(matrices: NDArray[np.float64]) -> bool:
    """Say whether every target unit is made of one unit alone."""
    return bool((np.count_nonzero(matrices, axis=2) == 1).all())
