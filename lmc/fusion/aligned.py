"""Align, then average: every network's units in one order first, by any alignment there is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from lmc._errors import UsageError
from lmc._methods import ALIGNMENTS, FUSIONS, load_method
from lmc._types import Permutation
from lmc.alignment import AbstractAlignment, Identity
from lmc.alignment.base import Needs
from lmc.alignment.coupling import Coupling
from lmc.alignment.many import align_many
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_choice, reference_of
from lmc.symmetry import PermutationSpec

ORDERS = ("pivot", "merge-many", "cycle-consistent")


@dataclass(frozen=True)
class AlignThenAverage(AbstractFusion):
    """Bring all networks into the first one's order, and average.

    Parameters
    ----------
    align : str or AbstractAlignment
        How two networks are aligned: ``weights``, ``activations``, ``ot``. On the command line with one option at most,
        ``align-then-average?align=weights?restarts=4``.
    order : {"pivot", "merge-many", "cycle-consistent"}
        Of several networks: each to the first; each to the mean of the others until nothing improves; or all at once
        (which takes ``align=frank-wolfe``). See :func:`lmc.align_many`.
    by : str or AbstractFusion
        What averages the aligned networks: ``vanilla``, or ``fisher``, ``regmean``, ``soup``.
    seed : int
        Of the alignment.

    References
    ----------
    .. [1] Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023.
    """

    align: str | AbstractAlignment | None = "weights"
    order: Literal["pivot", "merge-many", "cycle-consistent"] = "pivot"
    by: str | AbstractFusion = "vanilla"
    seed: int = 0

    citation: ClassVar[str] = (
        "@inproceedings{ainsworth2023git,\n"
        "  title = {Git Re-Basin: Merging Models modulo Permutation Symmetries},\n"
        "  author = {Ainsworth, Samuel K. and Hayase, Jonathan and Srinivasa, Siddhartha},\n"
        "  booktitle = {International Conference on Learning Representations},\n"
        "  year = {2023}\n"
        "}"
    )

    def __post_init__(self) -> None:
        check_choice("order of many networks", self.order, ORDERS)
        self._chosen()
        average = self._average()
        if average.needs_base or average.widths_may_differ or isinstance(average, AlignThenAverage):
            raise UsageError(
                f"align-then-average: by={self.by!r} is no average of aligned networks: vanilla, fisher, say."
            )

    def _chosen(self) -> AbstractAlignment:
        if isinstance(self.align, AbstractAlignment):
            return self.align
        # "align=none" is read as no value at all.
        return load_method(self.align or "none", ALIGNMENTS, "alignment", seed=self.seed)

    def _average(self) -> AbstractFusion:
        if isinstance(self.by, AbstractFusion):
            return self.by
        return load_method(self.by, FUSIONS, "fusion", seed=self.seed)

    @property
    def needs(self) -> Needs:
        """What the alignment or the average needs."""
        both = {self._chosen().needs, self._average().needs}
        return "data" if "data" in both else "module" if "module" in both else "none"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("align-then-average", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Align the networks of a problem and average them."""
        start = time.perf_counter()
        spec, chosen = problem.target, self._chosen()
        if isinstance(chosen, Identity):
            permutations, message = tuple(spec.identity() for _ in problem.states), "units as they were"
            objective, name, converged, trace = float("nan"), "", True, ()
        else:
            found = align_many(
                problem.states,
                spec,
                method=self.order,
                base=chosen,
                seed=self.seed,
                data=problem.data if chosen.needs == "data" else None,
                module=problem.module if chosen.needs != "none" else None,
            )
            permutations, message, trace = found.permutations, found.message, found.trace
            objective, name, converged = found.objective, found.objective_name, found.converged
        aligned = time.perf_counter()
        moved = tuple(spec.apply(state, one) for state, one in zip(problem.states, permutations, strict=True))
        average = self._average().fuse(replace(problem, states=moved))
        return replace(
            average,
            method=self.reference,
            couplings=tuple(couplings_of(spec, one) for one in permutations),
            objective=objective,
            objective_name=name,
            trace=trace,
            converged=converged and average.converged,
            message=f"{message}; {average.message}" if self.by != "vanilla" else message,
            seconds={"align": aligned - start, "average": time.perf_counter() - aligned},
            citation="\n\n".join(dict.fromkeys(filter(None, (self.citation, chosen.citation, average.citation)))),
        )


def couplings_of(spec: PermutationSpec, permutation: Permutation) -> dict[str, Coupling]:
    """Return a permutation as couplings: mass 1/size where a unit goes, marginals uniform."""
    found = {}
    for group in spec.groups:
        perms = np.asarray(permutation[group.name]).reshape(group.blocks, group.size)
        plan = np.zeros((group.blocks, group.size, group.size))
        plan[np.arange(group.blocks)[:, None], np.arange(group.size), perms] = 1 / group.size
        found[group.name] = Coupling(plan)
    return found
