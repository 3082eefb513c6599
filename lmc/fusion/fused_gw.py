"""The barycenter of one layer: units coupled by features and by relations among themselves, both sides of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmc.fusion.couple import Couple

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Units:
    """What the units of a layer are compared by, for all networks.

    Parameters
    ----------
    gram : sequence of sequence of array, shape (units of i, units of m)
        Inner products of features between networks i and m; empty where there are no features.
    squares : sequence of array, shape (units of i,)
        Squares of the features: of a soft mean of inputs, more than the diagonal of ``gram``.
    relations : sequence of array, shape (kinds, units of i, units of i)
        What the units of a network are to each other: hidden-to-hidden weights, gate by gate, or distances.
    alpha : float
        Weight of the relations.
    mix : sequence of float
        Share of each network.
    """

    gram: Sequence[Sequence[Array]]
    squares: Sequence[Array]
    relations: Sequence[Array]
    alpha: float
    mix: Sequence[float]

    @property
    def sizes(self) -> list[int]:
        """Number of units of each network."""
        return [one.shape[-1] for one in self.relations]


@dataclass(frozen=True, eq=False)
class Target:
    """The layer that is fused into.

    Parameters
    ----------
    weights : sequence of array, shape (target units, units of i)
        Its features are the sum over the networks of ``weights[i] @ features_i``.
    relations : array, shape (kinds, target units, target units)
        Its relations.
    """

    weights: Sequence[Array]
    relations: Array

    @classmethod
    def copy(cls, units: Units, base: int, chosen: NDArray[np.int64]) -> Target:
        """Return a layer of some units of one network."""
        maps = [np.zeros((len(chosen), size)) for size in units.sizes]
        maps[base][np.arange(len(chosen)), chosen] = 1.0
        return cls(maps, units.relations[base][:, chosen][:, :, chosen])

    @classmethod
    def mean(cls, units: Units, plans: Sequence[Array]) -> Target:
        """Return the barycenter given the couplings: no other layer has a lower objective."""
        maps = [len(plan) * plan for plan in plans]
        weights = [share * one for share, one in zip(units.mix, maps, strict=True)]
        relations = sum(
            share * (one @ there @ one.T) for share, one, there in zip(units.mix, maps, units.relations, strict=True)
        )
        return cls(weights, np.asarray(relations))

    def cost(self, units: Units, network: int) -> Array:
        """Return the squared distances of features, shape (target units, units of the network)."""
        if not units.gram:
            return np.zeros((self.relations.shape[-1], units.sizes[network]))
        cross = [
            sum(weight @ units.gram[m][i] for m, weight in enumerate(self.weights)) for i in range(len(self.weights))
        ]
        own = sum((weight * one).sum(1) for weight, one in zip(self.weights, cross, strict=True))
        return np.maximum(np.asarray(own)[:, None] + units.squares[network] - 2 * cross[network], 0.0)

    def pairing(self, units: Units, network: int) -> Pairing:
        """Return the problem of coupling one network to this layer."""
        return Pairing(self.cost(units, network), self.relations, units.relations[network], units.alpha)


@dataclass(frozen=True, eq=False)
class Pairing:
    r"""Coupling of one network to the target, a quadratic problem in the plan.

    .. math:: \langle C, \pi \rangle
        + \alpha \sum_{jagb} \pi_{jg} \pi_{ab} (H_{ja} - H^i_{gb})^2

    Its gradient is the cost of a pair of units with both sides of the relations:
    :math:`C_{jg} + \alpha \sum_{ab} \pi_{ab} [(H_{ja} - H^i_{gb})^2 + (H_{aj} - H^i_{bg})^2]`.
    """

    cost: Array
    here: Array
    there: Array
    alpha: float

    def value(self, plan: Array) -> float:
        """Return the objective."""
        return self._value(plan, self._sides(plan)[0])

    def _value(self, plan: Array, one: Array) -> float:
        mu, nu = plan.sum(1), plan.sum(0)
        squares = mu @ (self.here**2).sum(0) @ mu + nu @ (self.there**2).sum(0) @ nu
        return float((self.cost * plan).sum() + self.alpha * (squares - 2 * (one * plan).sum()))

    def _sides(self, plan: Array) -> tuple[Array, Array]:
        r"""Return :math:`H \pi H_i^T` and :math:`H^T \pi H_i`, summed over kinds in as few products as there can be."""
        kinds, size, other = len(self.here), *plan.shape
        if not kinds or not self.alpha:
            return np.zeros_like(plan), np.zeros_like(plan)
        flat = (self.here.reshape(-1, size) @ plan).reshape(kinds, size, other).transpose(1, 0, 2).reshape(size, -1)
        turned = self.here.transpose(0, 2, 1).reshape(-1, size) @ plan
        turned = turned.reshape(kinds, size, other).transpose(1, 0, 2).reshape(size, -1)
        return flat @ self.there.transpose(0, 2, 1).reshape(-1, other), turned @ self.there.reshape(-1, other)

    def descend(self, plan: Array, limit: int = 200) -> Array:
        """Return a plan from which no coupling improves the objective to first order.

        Every step goes to the best coupling for the gradient, as far as the objective falls (it is quadratic along the
        line, so that is known exactly): it never rises.
        """
        one, other = self._sides(plan)
        least = 1e-6 * abs(self._value(plan, one)) + 1e-15
        for _ in range(limit):
            slope = self.cost - 2 * self.alpha * (one + other)
            step = transported(slope) - plan
            gain = -float((slope * step).sum())
            if gain <= least:
                break
            ahead = self._sides(step)
            bend = -2 * self.alpha * float((ahead[0] * step).sum())
            size = min(1.0, gain / bend) if bend > 0 else 1.0
            plan, one, other = plan + size * step, one + size * ahead[0], other + size * ahead[1]
        return plan


def transported(cost: Array) -> Array:
    """Return the coupling of uniform marginals that costs least, of mass one."""
    return Couple().plan(cost)[0]


def rounded(plan: Array) -> Array:
    """Return the permutation that carries most of the mass, as a plan; the plan itself where sizes differ."""
    return transported(-plan) if plan.shape[0] == plan.shape[1] else plan


@dataclass(frozen=True, eq=False)
class Barycenter:
    """A layer fused, from one start.

    Parameters
    ----------
    plans : tuple of array, shape (target units, units of i)
        Coupling of each network, of mass one.
    target : Target
        The barycenter.
    trace : tuple of float
        The objective after every step.
    converged : bool
        Whether it stopped because nothing improved any more.
    rounding_loss : float
        How much worse the objective is at the permutations that the plans are rounded to.
    """

    plans: tuple[Array, ...]
    target: Target
    trace: tuple[float, ...]
    converged: bool
    rounding_loss: float = 0.0

    @property
    def objective(self) -> float:
        """What was reached."""
        return self.trace[-1]


def objective(units: Units, target: Target, plans: Sequence[Array]) -> float:
    """Return what the barycenter minimises: the mean over the networks of what their couplings cost."""
    costs = [target.pairing(units, i).value(plan) for i, plan in enumerate(plans)]
    return float(np.dot(units.mix, costs))


def barycenter(units: Units, target: Target, plans: Sequence[Array], *, sweeps: int = 20) -> Barycenter:
    """Alternate couplings and layer until the objective stops falling, and round where that is no worse.

    Parameters
    ----------
    units : Units
        What is compared.
    target : Target
        Layer to begin with.
    plans : sequence of array
        Couplings to begin with.
    sweeps : int
        At most how often all networks are coupled anew.
    """
    found = Barycenter(tuple(plans), target, (objective(units, target, plans),), False)
    found = _swept(units, found, sweeps)
    hard = tuple(rounded(plan) for plan in found.plans)
    if any(not np.array_equal(one, other) for one, other in zip(hard, found.plans, strict=True)):
        mean = Target.mean(units, hard)
        again = _swept(units, Barycenter(hard, mean, (objective(units, mean, hard),), False), sweeps)
        if again.objective <= found.objective:
            return replace(again, trace=(*found.trace, again.objective))
        found = replace(found, rounding_loss=objective(units, found.target, hard) - found.objective)
    return found


def _swept(units: Units, found: Barycenter, sweeps: int) -> Barycenter:
    plans, target, trace = list(found.plans), found.target, list(found.trace)
    for _ in range(sweeps):
        before = trace[-1]
        for i, plan in enumerate(plans):
            plans[i] = target.pairing(units, i).descend(plan)
        trace.append(objective(units, target, plans))
        target = Target.mean(units, plans)
        trace.append(objective(units, target, plans))
        if before - trace[-1] <= 1e-7 * abs(before) + 1e-15:
            return Barycenter(tuple(plans), target, tuple(trace), True)
    return Barycenter(tuple(plans), target, tuple(trace), False)
