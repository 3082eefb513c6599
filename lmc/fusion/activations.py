"""What units of several networks do on the same examples, as rows that costs and barycenters are made from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmc._errors import MismatchError
from lmc.alignment.capture import Run, batch_size, batches, check_alike, device_of, dtype_of, graph_at
from lmc.alignment.families import Family, families
from lmc.evaluation.inputs import network_inputs
from lmc.fusion.layers import Place, Rows
from lmc.fusion.problem import Problem
from lmc.symmetry import Axis
from lmc.symmetry.sites import Place as Where
from lmc.symmetry.sites import Site


@dataclass(eq=False)
class _Seen:
    """Products of all networks' units at one site, in float64."""

    axes: dict[str, Axis]
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    samples: int = 0
    gram: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, rows: list[Tensor]) -> None:
        stacked = torch.cat([one.double().cpu() for one in rows])
        if not bool(torch.isfinite(stacked).all()):
            raise MismatchError("Activations are not finite: check the weights and how the examples are normalised.")
        self.samples += stacked.shape[1]
        self.gram = self.gram + stacked @ stacked.T


class Activations:
    """Places where units are compared by their activations.

    Any number of examples fits: what is kept are inner products. Rows with these products are read out of them, and
    since costs and barycenters depend on inner products alone, nothing is lost.

    Parameters
    ----------
    problem : Problem
        With data, and the networks to run.
    place : {"pre", "post"}
        Before or after the nonlinearities.
    examples : int or None
        How many, the first of the data; None for all.
    """

    def __init__(self, problem: Problem, place: Where, examples: int | None) -> None:
        assert problem.data is not None and problem.modules
        self._problem = problem
        self._where: Where = place
        self._seen: dict[tuple[str, int], _Seen] = {}
        self.families: list[Family] = families(problem.target)
        self.examples = 0
        first = next(iter(problem.data.batches(2)))[0]
        size, _ = batch_size(first, examples, problem.data, problem.specs[0], problem.modules[0])
        runs: dict[int, list[Run]] = {}
        for raw in batches(problem.data, size, examples):
            self._watch(raw, runs)

    def _watch(self, raw: Tensor, runs: dict[int, list[Run]]) -> None:
        """Run every network on a batch and add what is seen."""
        problem = self._problem
        assert problem.data is not None
        fed = [
            network_inputs(raw, problem.data.normalization, device_of(state), dtype_of(state))
            for state in problem.states
        ]
        if len(raw) not in runs:
            found = zip(problem.specs, problem.modules, fed, strict=True)
            runs[len(raw)] = [Run(spec, graph_at(spec, module, x), self._where) for spec, module, x in found]
            check_alike(runs[len(raw)])
        now = runs[len(raw)]
        if not self.examples:
            self.families = families(problem.target, [site.axes for site in now[0].sites])
        shown = [run.show(state, x) for run, state, x in zip(now, problem.states, fed, strict=True)]
        for number, sites in enumerate(zip(*(run.sites for run in now), strict=True)):
            tensors = [one[site] for one, site in zip(shown, sites, strict=True)]
            self._add(number, sites, tensors)
        self.examples += len(raw)

    def _add(self, number: int, sites: tuple[Site, ...], tensors: list[Tensor]) -> None:
        for family in self.families:
            axes = [family.held(site.axes) for site in sites]
            if not axes[0]:
                continue
            rows = [family.rows(held, tensor) for held, tensor in zip(axes, tensors, strict=True)]
            key = family.name, number
            if key not in self._seen:
                self._seen[key] = _Seen(axes[0], tuple(tensors[0].shape), tuple(len(one) for one in rows))
            self._seen[key].add(rows)

    def places(self, family: Family) -> list[Place]:
        """Return where a family was seen; all sites as one for a group that is matched alone."""
        seen = [one for (name, _), one in self._seen.items() if name == family.name]
        found = [Place(one.axes, one.shape, _rows(one)) for one in seen]
        if not family.alone or len(found) < 2:
            return found
        rows = tuple(Rows.joined(parts) for parts in zip(*(place.rows for place in found), strict=True))
        return [Place(found[0].axes, found[0].shape, rows)]


def _rows(seen: _Seen) -> tuple[Rows, ...]:
    """Return rows whose inner products are the mean ones over samples."""
    values, vectors = torch.linalg.eigh(seen.gram / max(1, seen.samples))
    kept = values > 1e-14 * values[-1].clamp(min=1e-300)
    rows = vectors[:, kept] * values[kept].sqrt()
    return tuple(Rows.plain(one) for one in rows.split(seen.sizes))
