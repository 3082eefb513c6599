"""Transformer fusion: maps flow through the network, soft ones too, and meet where a residual stream is added to."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.activation_matching import check_examples
from lmc.alignment.base import Needs, check_seed
from lmc.alignment.coupling import Coupling
from lmc.alignment.settings import check_at_least, check_choices
from lmc.alignment.unit_costs import Metric
from lmc.fusion.base import AbstractFusion
from lmc.fusion.carried import carried_along, changed, in_dtypes
from lmc.fusion.problem import Problem
from lmc.fusion.readout import with_statistics
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_range, reference_of
from lmc.fusion.states import weighted_mean
from lmc.fusion.strand_activations import Seen
from lmc.fusion.strand_maps import Residual, Settings, StrandMaps
from lmc.fusion.strands import Heads, Queries, Strands
from lmc.fusion.wasserstein import WassersteinBarycenter


@dataclass(frozen=True)
class TransformerFusion(AbstractFusion):
    r"""Carry every network to an anchor along maps that are found layer by layer, and average.

    .. math:: W_l = \sum_i \lambda_i (k_l \pi^i_l) W^i_l (k^i_{l-1} \pi^i_{l-1})^\top

    as in OTFusion, but every layer that adds to a residual stream finds a map of its own, and the sum takes one made of
    both: :math:`\pi_{out} = \gamma \pi_{skip} + (1 - \gamma) \pi_{block}`. The scale and shift of a norm move with what
    it normalises, an embedding of positions is the first term of the first sum. A map that is no permutation, or is
    another one elsewhere on the same stream, changes what a network carried along it computes: the result warns, and
    where there are examples says by how much.

    Parameters
    ----------
    on : {"weights", "activations"}
        What units are compared by.
    solver : {"sinkhorn", "emd"}
        Soft maps, or hard ones.
    reg : float
        Weight of the entropy, as a share of the standard deviation of a layer's costs (sinkhorn).
    residual : {"mean", "none", "skip", "scalar", "features"}
        Which map a sum has: the mean of both; the block's alone (the paper's "no residual"); the skip connection's
        alone; or the mean weighted by how large the anchor's terms are on examples, with one weight for a sum or one
        for each unit.
    queries : {"joint", "separate"}
        Whether queries and keys share a map; apart, their products change unless both maps are one permutation.
    heads : {"matched", "across"}
        Whether heads are matched one to one, and maps stay within them; or units go from any head to any other.
    cost : {"euclidean", "sqeuclidean", "cosine"}
        How units are compared.
    pivot : int
        Number of the network, from 1 up, that is the anchor; where it has other widths than the fused network, the
        first one with those, else the pivot brought to them.
    examples : int or None
        Of the activations; None for all.
    seed : int
        Of the restarts of matched heads.

    References
    ----------
    .. [1] Imfeld, Graldi, Giordano, Hofmann, Anagnostidis, Singh. Transformer Fusion with Optimal Transport. ICLR 2024.
    """

    on: Literal["weights", "activations"] = "weights"
    solver: Literal["sinkhorn", "emd"] = "sinkhorn"
    reg: float = 0.1
    residual: Residual | None = "mean"
    queries: Queries = "joint"
    heads: Heads = "matched"
    cost: Metric = "euclidean"
    pivot: int = 1
    examples: int | None = 200
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{imfeld2024transformer,
  title = {Transformer Fusion with Optimal Transport},
  author = {Imfeld, Moritz and Graldi, Jacopo and Giordano, Marco and Hofmann, Thomas and Anagnostidis, Sotiris and
    Singh, Sidak Pal},
  booktitle = {International Conference on Learning Representations},
  year = {2024}
}"""
    widths_may_differ: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # "residual=none" is read as no value at all.
        object.__setattr__(self, "residual", self.residual or "none")
        check_choices(
            "transformer",
            self,
            on=("weights", "activations"),
            solver=("sinkhorn", "emd"),
            residual=("mean", "none", "skip", "scalar", "features"),
            queries=("joint", "separate"),
            heads=("matched", "across"),
            cost=("euclidean", "sqeuclidean", "cosine"),
        )
        check_range("transformer", "reg", self.reg, 1e-9)
        check_at_least("transformer", self, pivot=1)
        check_examples(self.examples, "transformer")
        check_seed(self.seed)

    @property
    def heads_may_differ(self) -> bool:
        """Where units go from any head to any other."""
        return self.heads == "across"

    @property
    def needs(self) -> Needs:
        """Examples where units are compared by their activations, or sums weighed by theirs."""
        return "data" if self.on == "activations" or self.residual in ("scalar", "features") else "none"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("transformer", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Find the maps of every network, carry it along them, and average."""
        begun = time.perf_counter()
        if self.pivot > len(problem.states):
            raise UsageError(
                f"transformer: pivot={self.pivot} is none of {len(problem.states)} networks, numbered from 1."
            )
        anchor, which, note = self._anchor(problem)
        strands = Strands(problem.specs, problem.target, self.heads, self.queries)
        seen = Seen(problem, strands, anchor, self.examples) if self.needs == "data" else None
        settings = Settings(self.cost, self.solver, self.reg, self.residual or "none", self.seed)
        others = [
            StrandMaps(strands, number, anchor, state, settings, seen, by_activations=self.on == "activations")
            for number, state in enumerate(problem.states)
            if number != which
        ]
        found = {one.number: one for one in others}
        settled = time.perf_counter()
        moved = [
            dict(state) if number == which else carried_along(problem, strands, found[number])
            for number, state in enumerate(problem.states)
        ]
        state = weighted_mean(moved, problem.mix)
        state, statistics = with_statistics(problem, in_dtypes(problem, state))
        notes = list(dict.fromkeys(note for one in others for note in one.notes))
        broken = [text for one in others if (text := changed(problem, strands, one, moved[one.number], self.examples))]
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            couplings=tuple(
                _by_group(strands, found[number] if number != which else None) for number in range(len(moved))
            ),
            objective=sum(problem.mix[one.number] * _mean(one.costs.values()) for one in others),
            objective_name="mean cost of a unit and what it is matched with",
            rounding_loss=sum(problem.mix[one.number] * _mean(one.rounding.values()) for one in others),
            converged=not any("converge" in note for note in notes),
            message="; ".join([note, f"{len(strands.strands)} maps for each network", *notes, *statistics]),
            warnings=(*broken, *notes),
            seconds={"maps": settled - begun, "read out": time.perf_counter() - settled},
            seed=self.seed,
            citation=self.citation,
        )

    def _anchor(self, problem: Problem) -> tuple[StateDict, int | None, str]:
        """Return the network that all are carried to, its number if it is one of them, and what it is."""
        fitting = [number for number, spec in enumerate(problem.specs) if spec.shapes == problem.target.shapes]
        first = self.pivot - 1
        if fitting:
            which = first if first in fitting else fitting[0]
            return problem.states[which], which, f"network {which + 1} is the anchor"
        if any(group.blocks != problem.specs[first][group.name].blocks for group in problem.target.groups):
            raise UsageError("transformer: no network has the heads of the fused one: fuse into one of the networks'.")
        alone = replace(
            problem, states=(problem.states[first],), specs=(problem.specs[first],), mix=(1.0,), data=None, modules=()
        )
        state = WassersteinBarycenter().fuse(alone).state
        return state, None, f"network {self.pivot}, brought to the widths, is the anchor"


def _by_group(strands: Strands, maps: StrandMaps | None) -> dict[str, Coupling]:
    """Return a plan for every group that is whole: the mean over its strands."""
    plans: dict[str, list] = {}
    for number, one in enumerate(strands.strands):
        if not one.opened:
            units = np.eye(one.sizes[0])[None].repeat(one.blocks, axis=0) / one.sizes[0]
            plans.setdefault(one.group, []).append(units if maps is None else maps.plan(number))
    return {name: Coupling(np.mean(held, axis=0)) for name, held in plans.items()}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else 0.0
