"""One method after another: the second starts from where the first has put B."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from torch import nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import PermutationSpec


@dataclass(frozen=True)
class Composition(AbstractAlignment):
    """Align by several methods in turn, written ``activations+ste``.

    Each is given B as the one before has left it, so that any method can follow any other. What is returned is the
    permutation of all of them together, and otherwise what the last one says.

    Parameters
    ----------
    methods : tuple of AbstractAlignment
        In the order in which they run.
    """

    methods: tuple[AbstractAlignment, ...]

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("A composition of alignments needs at least one: Composition((WeightMatching(),)).")

    @property
    def needs(self) -> Needs:
        """What any of the methods needs."""
        order: tuple[Needs, ...] = ("data", "module", "none")
        return next(need for need in order if any(method.needs == need for method in self.methods))

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Run all of them."""
        permutation = spec.identity()
        results: list[AlignmentResult] = []
        for method in (self.methods[0], *(method.continued() for method in self.methods[1:])):
            results.append(method.align(a, spec.apply(b, permutation), spec, data, module=module))
            permutation = spec.compose(permutation, results[-1].permutation)
        return replace(
            results[-1],
            method="+".join(result.method for result in results),
            permutation=permutation,
            message="; then ".join(result.message for result in results),
            converged=all(result.converged for result in results),
            seconds=dict(sum((Counter(dict(result.seconds)) for result in results), Counter())),
            citation="\n\n".join(dict.fromkeys(result.citation for result in results if result.citation)),
        )
