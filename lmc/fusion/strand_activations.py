"""What strands do on examples: an anchor's units against every network's, and how large the terms of sums are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import MismatchError
from lmc._types import StateDict
from lmc.alignment.capture import Run, batch_size, batches, device_of, dtype_of, graph_at
from lmc.alignment.families import Family, Worth
from lmc.alignment.unit_costs import Metric, Products
from lmc.evaluation.inputs import network_inputs
from lmc.fusion.problem import Problem
from lmc.fusion.strands import Strand, Strands
from lmc.symmetry import Axis, PermutationSpec
from lmc.symmetry.sites import Sighting, Site


class Seen:
    """Sums over examples; any number of them fits.

    Parameters
    ----------
    problem : Problem
        With data and modules.
    strands : Strands
        What is looked at.
    anchor : StateDict
        The network of the target's widths that all others are compared with.
    examples : int or None
        How many, the first of the data; None for all.
    """

    def __init__(self, problem: Problem, strands: Strands, anchor: StateDict, examples: int | None) -> None:
        assert problem.data is not None and problem.modules and problem.module is not None
        self._strands = strands
        self._products: dict[tuple[int, int, str], Products] = {}
        self._families: dict[tuple[str, int, str], tuple[dict[str, Axis], tuple[int, ...], Products]] = {}
        self._sizes: dict[tuple[int, str], NDArray[np.float64]] = {}
        self.examples = 0
        first = next(iter(problem.data.batches(2)))[0]
        size, _ = batch_size(first, examples, problem.data, problem.target, problem.module)
        networks = [
            (problem.target, problem.module, anchor),
            *zip(problem.specs, problem.modules, problem.states, strict=True),
        ]
        runs: dict[int, list[Run]] = {}
        for raw in batches(problem.data, size, examples):
            given = [network_inputs(raw, problem.data.normalization, device_of(s), dtype_of(s)) for *_, s in networks]
            if len(raw) not in runs:
                runs[len(raw)] = [_run(one, x, self._sites) for one, x in zip(networks, given, strict=True)]
            shown = []
            for run, (*_, state), x in zip(runs[len(raw)], networks, given, strict=True):
                seen = run.show(state, x)
                shown.append({site.node: (site, _finite(seen[site])) for site in run.sites})
            self._add(shown)
            self.examples += len(raw)

    def _sites(self, sighting: Sighting) -> list[Site]:
        """Return every node that shows a strand, with all groups in it."""
        strands = self._strands.strands
        wanted = dict.fromkeys(node for one in strands for node in (*one.seen, *(one.terms or ())))
        groups = [group.name for group in sighting.spec.groups]
        return [site for node in wanted if (site := sighting.at(node, groups)) is not None]

    def _add(self, shown: Sequence[dict[str, tuple[Site, Tensor]]]) -> None:
        anchor, *networks = shown
        for strand, one in enumerate(self._strands.strands):
            for term in one.terms or ():
                self._measure(strand, term, one, anchor)
            for node in () if one.joined else one.seen:
                for number, network in enumerate(networks):
                    self._compare(strand, number, node, one, anchor, network)
        for family in self._strands.families:
            if not family.alone:
                self._compare_family(family, anchor, networks)

    def _measure(self, strand: int, term: str, one: Strand, anchor: dict[str, tuple[Site, Tensor]]) -> None:
        """Add the mean absolute value of the anchor's units in one of two terms."""
        if term in anchor and one.group in anchor[term][0].axes:
            site, tensor = anchor[term]
            rows = site.axes[one.group].units(tensor).double().abs().mean(1).cpu().numpy()
            self._sizes[strand, term] = self._sizes.get((strand, term), 0.0) + rows

    def _compare(self, strand: int, number: int, node: str, one: Strand, anchor: dict, network: dict) -> None:
        found = []
        for shown in (anchor, network):
            if node not in shown or one.group not in shown[node][0].axes:
                return
            site, tensor = shown[node]
            found.append(one.axis(site.axes[one.group]).units(tensor))
        self._sum((strand, number, node), Products.of(*found))

    def _sum(self, key: tuple[int, int, str], products: Products) -> None:
        self._products[key] = self._products[key] + products if key in self._products else products

    def _compare_family(self, family: Family, anchor: dict, networks: Sequence[dict]) -> None:
        strands = [one for one in self._strands.strands if one.group in family.names and not one.opened]
        for node in dict.fromkeys(node for one in strands for node in one.seen):
            if node not in anchor:
                continue
            site, tensor = anchor[node]
            axes = family.held(site.axes)
            for number, network in enumerate(networks):
                products = Products.of(family.rows(axes, tensor), family.rows(axes, network[node][1]))
                key = family.name, number, node
                before = self._families[key][2] + products if key in self._families else products
                self._families[key] = axes, tuple(tensor.shape), before

    def products(self, strand: int, number: int) -> Products | None:
        """Return the inner products of a strand's units in the anchor with those of a network, None if never seen."""
        found = [one for (where, whose, _), one in self._products.items() if (where, whose) == (strand, number)]
        return Products.joined(found) if found else None

    def worths(self, family: Family, number: int, metric: Metric) -> list[Worth]:
        """Return what pairing units of a family of a network with the anchor's is worth, at every layer."""
        return [
            Worth(axes, shape, -products.cost(metric))
            for (name, whose, _), (axes, shape, products) in self._families.items()
            if (name, whose) == (family.name, number)
        ]

    def share(self, strand: int, *, whole: bool) -> NDArray[np.float64]:
        r"""Return how much of a sum its first term is, :math:`|r| / (|r| + |c|)` of mean absolute values of the anchor.

        Parameters
        ----------
        strand : int
            Of a sum.
        whole : bool
            One share for all units, or one for each.

        Returns
        -------
        array, shape (target units,)
            A half for units that neither term moves.
        """
        one = self._strands.strands[strand]
        assert one.terms is not None
        sizes = [self._sizes.get((strand, term), np.ones(one.blocks * one.sizes[0])) for term in one.terms]
        first, second = (np.full_like(size, size.mean()) if whole else size for size in sizes)
        total = first + second
        return np.where(total > 0, first / np.where(total > 0, total, 1.0), 0.5)


def _run(network: tuple[PermutationSpec, nn.Module, StateDict], x: Tensor, sites) -> Run:
    spec, module, _ = network
    return Run(spec, graph_at(spec, module, x), sites)


def _finite(tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        raise MismatchError("Activations are not finite: check the weights and how the examples are normalised.")
    return tensor
