"""The prediction ensemble: what networks answer is averaged, not their weights; what fusions are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import Combine, FusionResult
from lmc.fusion.settings import check_choice, reference_of


@dataclass(frozen=True)
class PredictionEnsemble(AbstractFusion):
    r"""Average what the networks answer, each with its share.

    The result holds no state: an ensemble is no single network, and costs as much as all its members.
    ``lmc.evaluation.evaluate_ensemble`` measures it.

    Parameters
    ----------
    of : {"logits", "probabilities"}
        What is averaged: outputs, or their softmax.

    References
    ----------
    .. [1] Lakshminarayanan, Pritzel, Blundell. Simple and Scalable Predictive Uncertainty Estimation using Deep
       Ensembles. NeurIPS 2017.
    """

    of: Combine = "logits"

    citation: ClassVar[str] = (
        "@inproceedings{lakshminarayanan2017simple,\n"
        "  title = {Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles},\n"
        "  author = {Lakshminarayanan, Balaji and Pritzel, Alexander and Blundell, Charles},\n"
        "  booktitle = {Advances in Neural Information Processing Systems},\n"
        "  year = {2017}\n"
        "}"
    )
    widths_may_differ: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("mean of an ensemble", self.of, ("logits", "probabilities"))

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("ensemble", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Say that the answers of the networks of a problem are to be averaged."""
        return FusionResult(
            self.reference,
            {},
            problem.target,
            problem.mix,
            message=f"mean of the {self.of} of {len(problem.states)} networks",
            combine=self.of,
            seed=problem.seed,
            citation=self.citation,
        )
