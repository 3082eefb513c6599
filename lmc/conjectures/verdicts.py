"""What may be said of every pair: connected, not connected by anything tried, or undecided, and why.

For one pair, the method is chosen on one half of the examples and its barrier reported on the other, so that the
choice does not flatter it. Over pairs, claims of either kind are corrected together (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmc.barriers.scalars import chord_barrier
from lmc.conjectures.claims import Rise, holm

CONNECTED, NOT_CONNECTED, UNDECIDED = "connected", "not connected by anything tried", "undecided"

PROVED = "not connected by any permutation"
"""What only a search through all of them can say (``exhaustive.py``)."""

Word = Literal["connected", "not connected by anything tried", "not connected by any permutation", "undecided"]


Halves = tuple[NDArray[np.int64], NDArray[np.int64]]


def halves(examples: int, seed: int, most: int | None = None) -> Halves:
    """Return the examples that methods are chosen on, and those that barriers are reported on; both sorted.

    Of each half at most ``most`` are taken, at random.
    """
    order = np.random.default_rng(seed).permutation(examples)
    chosen, reported = order[: examples // 2][:most], order[examples // 2 :][:most]
    return np.sort(chosen), np.sort(reported)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of every pair.

    Parameters
    ----------
    t : array, shape (t,), in [0, 1]
        Positions along the paths.
    tolerance : float
        What barriers are compared with: a share for the error, nats for the loss.
    metric : {"error", "loss"}
        Whose barrier decides.
    confidence : float
        All claims of one kind hold together with half of the error that this leaves.
    seed : int
        Of the split into halves and of the bootstrap.
    """

    t: NDArray[np.float64]
    tolerance: float = 0.02
    metric: str = "error"
    confidence: float = 0.95
    seed: int = 0

    @property
    def tail(self) -> float:
        """Error allowed to all claims of one kind together."""
        return (1 - self.confidence) / 2

    def rise(self, values: ArrayLike) -> Rise:
        """Return the rises of one path; values have shape (example, t)."""
        upper = 1.0 if self.metric == "error" else np.inf
        return Rise(values, self.t, upper=upper, seed=self.seed)

    def promising(self, values: NDArray[np.floating], split: Halves) -> bool:
        """Say whether the half that methods are chosen on has the barrier surely under the tolerance."""
        return self.rise(values[split[0]]).p_below(self.tolerance) <= self.tail


@dataclass(frozen=True, eq=False)
class Tried:
    """One method on one pair, on the half of the examples that is reported.

    Parameters
    ----------
    chosen_by : float
        Its barrier on the other half, which methods are chosen by.
    barrier : float
        Its barrier.
    bounds : array, shape (2,)
        Interval at the question's confidence, for this pair and method alone.
    p_below, p_above : float
        Error probability of the claims that the barrier is under the tolerance, or over it.
    examples : int
        How many there were.
    """

    chosen_by: float
    barrier: float
    bounds: NDArray[np.float64]
    p_below: float
    p_above: float
    examples: int


def look(values: ArrayLike, question: Question, split: Halves | None = None) -> Tried:
    """Return what is known of one method on one pair.

    Parameters
    ----------
    values : array, shape (example, t)
        Loss (nats) or error of each example at each position.
    question : Question
        What is asked.
    split : (array, array), optional
        Rows of the half that methods are chosen on, and of the half that is reported.
    """
    matrix = np.asarray(values, dtype=np.float64)
    chosen, reported = halves(len(matrix), question.seed) if split is None else split
    rise = question.rise(matrix[reported])
    return Tried(
        float(chord_barrier(matrix[chosen].mean(axis=0), question.t)),
        rise.barrier,
        rise.interval(question.confidence),
        rise.p_below(question.tolerance),
        rise.p_above(question.tolerance),
        len(reported),
    )


@dataclass(frozen=True)
class Verdict:
    """What may be said of one pair.

    Parameters
    ----------
    word : str
        ``connected``, ``not connected by anything tried``, ``not connected by any permutation`` or ``undecided``.
    method : str
        The one chosen.
    p : float
        Error probability of the claim, corrected for all pairs; of the likelier claim where it is undecided.
    why : str
        One sentence; where it is undecided, what would decide.
    """

    word: Word
    method: str
    p: float
    why: str


def judge(
    pairs: Sequence[Mapping[str, Tried]],
    question: Question,
    *,
    untried: Sequence[Sequence[str]] | None = None,
    recovers: bool = True,
) -> list[Verdict]:
    """Judge all pairs together.

    Parameters
    ----------
    pairs : sequence of mapping of str to Tried
        For each pair, what is known of every method that was tried, in the order of the ladder.
    question : Question
        What is asked.
    untried : sequence of sequence of str, optional
        For each pair, methods that there was no time for.
    recovers : bool
        Whether the positive control passed. Where methods do not even find a permutation that is known to be there,
        that nothing was found says nothing.

    Returns
    -------
    list of Verdict
        In the order of the pairs.
    """
    chosen = [min(tried, key=lambda name: (tried[name].chosen_by, list(tried).index(name))) for tried in pairs]
    below = holm([tried[name].p_below for tried, name in zip(pairs, chosen, strict=True)])
    # Every method has to be over the tolerance: the largest p is that of all together.
    above = holm([max(one.p_above for one in tried.values()) for tried in pairs])
    left = untried or [()] * len(pairs)
    return [
        _verdict(tried, name, float(p_below), float(p_above), question, list(missing), recovers)
        for tried, name, p_below, p_above, missing in zip(pairs, chosen, below, above, left, strict=True)
    ]


def _verdict(
    tried: Mapping[str, Tried],
    name: str,
    p_below: float,
    p_above: float,
    question: Question,
    untried: list[str],
    recovers: bool,
) -> Verdict:
    best = tried[name]
    if p_below <= question.tail:
        return Verdict(CONNECTED, name, p_below, f"by {name!r} the barrier is under {question.tolerance:g}")
    if p_above <= question.tail and recovers and not untried:
        return Verdict(NOT_CONNECTED, name, p_above, f"over {question.tolerance:g} by all of {', '.join(tried)}")
    return Verdict(UNDECIDED, name, min(p_below, p_above), _wanted(best, p_above, question, untried, recovers))


def _wanted(best: Tried, p_above: float, question: Question, untried: list[str], recovers: bool) -> str:
    """Say what would decide."""
    over = p_above <= question.tail
    if over and untried:
        return f"further methods would decide: no time was left for {', '.join(untried)}"
    if over and not recovers:
        return "stronger methods would decide: those tried do not even find a permutation that is known to be there"
    gap = abs(best.barrier - question.tolerance)
    width = float(best.bounds[1] - best.bounds[0]) / 2
    times = (width / gap) ** 2 if gap > 0 else np.inf
    if times > 100:
        return "the barrier is as good as equal to the tolerance: no number of examples decides that"
    more = int(np.ceil(2 * best.examples * max(times, 1.5) / 1000) * 1000)
    also = f", or further methods ({', '.join(untried)})" if untried and best.barrier > question.tolerance else ""
    return f"more examples would decide, about {more:,}{also}"
