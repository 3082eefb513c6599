"""Model soups: the mean of all networks, or of those that make it better on examples."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from lmc._types import StateDict
from lmc.alignment.base import Needs
from lmc.datasets import Data
from lmc.evaluation import evaluate_state
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_choice, check_examples, held, place_of, reference_of
from lmc.fusion.states import weighted_mean


@dataclass(frozen=True)
class ModelSoup(AbstractFusion):
    """Average networks that were fine-tuned from one, all of them or greedily.

    Greedily: the networks are taken in the order of how good each is on the examples, and one stays in the mean if that
    is no worse with it. A soup is therefore never worse on these examples than the best network alone.

    Parameters
    ----------
    recipe : {"greedy", "uniform"}
        Which networks go in; ``uniform`` takes all, which is the vanilla average by the paper's name.
    examples : int, optional
        How many examples the greedy recipe looks at, the first of the data; all by default. They should be held out
        from what the networks were trained on.

    References
    ----------
    .. [1] Wortsman et al. Model soups: averaging weights of multiple fine-tuned models improves accuracy without
       increasing inference time. ICML 2022.
    """

    recipe: Literal["greedy", "uniform"] = "greedy"
    examples: int | None = None

    citation: ClassVar[str] = (
        "@inproceedings{wortsman2022model,\n"
        "  title = {Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing "
        "inference time},\n"
        "  author = {Wortsman, Mitchell and Ilharco, Gabriel and Gadre, Samir Yitzhak and Roelofs, Rebecca and "
        "Gontijo-Lopes, Raphael and Morcos, Ari S. and Namkoong, Hongseok and Farhadi, Ali and Carmon, Yair and "
        "Kornblith, Simon and Schmidt, Ludwig},\n"
        "  booktitle = {International Conference on Machine Learning},\n"
        "  year = {2022}\n"
        "}"
    )

    def __post_init__(self) -> None:
        check_choice("recipe of a soup", self.recipe, ("greedy", "uniform"))
        check_examples("soup", self.examples)

    @property
    def needs(self) -> Needs:
        """Examples, where networks are chosen on them."""
        return "data" if self.recipe == "greedy" else "none"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("soup", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Average the networks of a problem, or those that are worth it."""
        start = time.perf_counter()
        if self.recipe == "uniform":
            chosen, trace, name = list(range(len(problem.states))), [], ""
        else:
            chosen, trace, name = _greedy(problem, self.examples)
        mix = _shares(problem, chosen)
        taken = ", ".join(str(index + 1) for index in sorted(chosen))
        return FusionResult(
            self.reference,
            weighted_mean(problem.states, mix),
            problem.target,
            mix,
            objective=trace[-1] if trace else float("nan"),
            objective_name=name,
            trace=tuple(trace),
            message=f"{len(chosen)} of {len(problem.states)} networks taken: {taken}",
            seconds={"total": time.perf_counter() - start},
            seed=problem.seed,
            citation=self.citation,
        )


def _shares(problem: Problem, chosen: list[int]) -> tuple[float, ...]:
    """Return the shares of the networks chosen, which sum to one."""
    total = sum(problem.mix[index] for index in chosen)
    return tuple(share / total if index in chosen else 0.0 for index, share in enumerate(problem.mix))


def _greedy(problem: Problem, examples: int | None) -> tuple[list[int], list[float], str]:
    """Return the networks chosen, the score each time the soup changed, and what the score is."""
    assert problem.data is not None
    data = held(problem.data, examples)
    offered = [index for index, share in enumerate(problem.mix) if share > 0]
    scores = {index: _score(problem, problem.states[index], data) for index in offered}
    order = sorted(offered, key=lambda index: -scores[index][0])
    chosen, trace = [order[0]], [scores[order[0]][0]]
    for index in order[1:]:
        tried = _score(problem, _soup(problem, [*chosen, index]), data)[0]
        if tried >= trace[-1]:
            chosen.append(index)
            trace.append(tried)
    return chosen, trace, f"{scores[order[0]][1]} on {data.name} {data.split}, {data.size} examples"


def _soup(problem: Problem, chosen: list[int]) -> dict[str, Tensor]:
    return weighted_mean(problem.states, _shares(problem, chosen))


def _score(problem: Problem, state: StateDict, data: Data) -> tuple[float, str]:
    """Return how good a network is, more being better: its accuracy, else the negative loss."""
    assert problem.module is not None
    device, dtype = place_of(problem)
    seen = evaluate_state(problem.module, state, data, device=device, dtype=dtype)
    if seen.accuracy is None:
        return -float(seen.loss[0]), "minus the loss"
    return float(seen.accuracy[0]), "accuracy"
