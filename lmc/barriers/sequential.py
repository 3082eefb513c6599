"""Bounds that hold however often they are looked at while examples are added, and the search that stops early."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from lmc.barriers.scalars import rises

Verdict = Literal["below tolerance", "above", "undecided"]

Read = Callable[[Sequence[int], int, int], NDArray[np.float64]]
"""``read(positions, start, stop)``: values of the examples from start to stop, in the order drawn, at these positions
of the grid; shape (position, example)."""

FIRST_LOOK = 256
"""Examples of the first look; each further look has twice as many."""

_IMAGINED = 2
"""Examples that every bound imagines beside those seen, each as bad as can be: what happens to one in n has not been
seen among n examples with probability 1/e, and means of what was seen know nothing of it (Agresti and Coull, 1998)."""

_DRAWS = 8_000


def look_counts(size: int, first: int = FIRST_LOOK) -> tuple[int, ...]:
    """Return how many examples each look has: doubling from the first to all."""
    counts = [min(first, size)]
    while counts[-1] < size:
        counts.append(min(2 * counts[-1], size))
    return tuple(counts)


@dataclass(frozen=True)
class Question:
    """What is asked of a barrier, and how sure the answer must be.

    Parameters
    ----------
    t : array, shape (t,), in [0, 1]
        The finest grid: what is said of the barrier is said of its maximum over these positions.
    size : int
        Number of examples in the set.
    tolerance : float
        What the barrier is compared with.
    confidence : float
        Both bounds hold at all looks together with this probability, each with half the error.
    baseline : {"chord", "mean"}
        What rises are measured against.
    finite : bool
        Whether the barrier asked for is that of the set (its unseen part shrinks to nothing), or that of the
        distribution that the set was drawn from.
    limits : pair of float, optional
        Smallest and largest value that an example can have; without, what was seen tells.
    """

    t: NDArray[np.float64]
    size: int
    tolerance: float
    confidence: float = 0.95
    baseline: str = "chord"
    finite: bool = True
    limits: tuple[float, float] | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """Examples at each look."""
        return look_counts(self.size)

    @property
    def tail(self) -> float:
        """Error allowed to one bound at one look: spent evenly. A look at the whole of a finite set errs not."""
        return (1 - self.confidence) / 2 / max(1, len(self.counts) - self.finite)


@dataclass(frozen=True)
class Look:
    """What was known after one round.

    Parameters
    ----------
    examples, positions, evaluations : int
        Examples seen, positions evaluated, and evaluations of one example at one position, up to here.
    lower, upper : float
        Bounds of the barrier; the upper one is infinite while positions of the grid have not been evaluated.
    """

    examples: int
    positions: int
    evaluations: int
    lower: float
    upper: float


@dataclass(frozen=True)
class Answer:
    """The verdict and what it rests on; arrays over the whole grid, shape (t,), have NaN where nothing was evaluated.

    Parameters
    ----------
    verdict : {"below tolerance", "above", "undecided"}
    examples : array of int, shape (t,)
        Examples evaluated at each position, the first so many of the order drawn.
    rise : array, shape (t,)
        Mean rise above the baseline over these.
    bounds : array, shape (t, 2)
        Lower and upper bound of the rise, good at all looks.
    values : tuple of arrays
        Values of the examples at each position, as they were read.
    looks : tuple of Look
        Round by round.
    """

    verdict: Verdict
    examples: NDArray[np.int64]
    rise: NDArray[np.float64]
    bounds: NDArray[np.float64]
    values: tuple[NDArray[np.float64], ...]
    looks: tuple[Look, ...]

    @property
    def barrier(self) -> float:
        """Greatest mean rise among the positions evaluated."""
        return float(np.nanmax(self.rise))

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the barrier on the whole grid."""
        return self.looks[-1].lower, self.looks[-1].upper


def decide(question: Question, read: Read) -> Answer:
    """Evaluate positions and examples until the barrier is known to be above or below the tolerance.

    Three positions between the ends come first. At each look, a position whose upper bound is within the tolerance is
    done with; the others get twice the examples, and two new neighbours of the highest one join them. When all are
    done, those between them are looked at, down to the finest grid. A single lower bound above the tolerance ends it.

    Parameters
    ----------
    question : Question
        What is asked.
    read : callable
        Gives values of further examples.

    Returns
    -------
    Answer
    """
    search = _Search(question, read)
    wanted = {int(i): question.counts[0] for i in np.linspace(0, len(question.t) - 1, 5).round()}
    while wanted:
        search.evaluate(wanted)
        wanted = {} if search.lower.max() > question.tolerance else search.next_round()
    return search.answer()


@dataclass
class _Search:
    """The state of one search: what was read, and the running bounds of every position."""

    question: Question
    read: Read
    values: list[NDArray[np.float64]] = field(init=False)
    rise: NDArray[np.float64] = field(init=False)
    lower: NDArray[np.float64] = field(init=False)
    upper: NDArray[np.float64] = field(init=False)
    looks: list[Look] = field(default_factory=list)

    def __post_init__(self) -> None:
        points = len(self.question.t)
        self.values = [np.empty(0)] * points
        self.rise, self.lower, self.upper = np.full(points, np.nan), np.full(points, -np.inf), np.full(points, np.inf)
        if self.question.baseline == "chord":
            for bound in (self.rise, self.lower, self.upper):
                bound[[0, -1]] = 0.0

    @property
    def seen(self) -> NDArray[np.int64]:
        return np.array([len(values) for values in self.values])

    def evaluate(self, wanted: dict[int, int]) -> None:
        """Read what is missing, the ends with as many examples as any position, and look again."""
        most, last = max(wanted.values()), len(self.question.t) - 1
        wanted = wanted | {end: max(most, len(self.values[end])) for end in (0, last)}
        missing: dict[tuple[int, int], list[int]] = {}
        for position, count in sorted(wanted.items()):
            if count > len(self.values[position]):
                missing.setdefault((len(self.values[position]), count), []).append(position)
        for (start, stop), positions in missing.items():
            for position, values in zip(positions, self.read(positions, start, stop), strict=True):
                self.values[position] = np.concatenate([self.values[position], values])
        ends = {0, last} if self.question.baseline == "chord" else set()
        for count in set(wanted.values()):
            self.look(sorted(p for p, n in wanted.items() if n == count and p not in ends), count)
        seen = self.seen
        upper = self.upper.max() if seen.all() else np.inf
        self.looks.append(Look(int(seen.max()), int((seen > 0).sum()), int(seen.sum()), self.lower.max(), upper))

    def look(self, positions: list[int], count: int) -> None:
        """Update the bounds of positions that have just reached this many examples."""
        if not positions:
            return
        # Other positions with as many examples are in the joint bound too, though their own stay as they are.
        joint = sorted({*positions, *np.flatnonzero(self.seen >= count).tolist(), 0, len(self.question.t) - 1})
        values = np.stack([self.values[i][:count] for i in joint], axis=-1)
        apart = rises(values, self.question.t[joint], self.question.baseline)
        height, lower, upper = bounds(apart, self.question, self.ranges(apart))
        for place, position in enumerate(joint):
            if position in positions:
                self.rise[position] = height[place]
                known = max(self.lower[position], lower[place]), min(self.upper[position], upper[place])
                if known[0] > known[1]:  # a look has erred: the latest saw most, and all of a finite set in the end
                    known = lower[place], upper[place]
                self.lower[position], self.upper[position] = known

    def ranges(self, apart: NDArray[np.float64]) -> tuple[float, float]:
        """Return how far an example that was not seen may fall and rise."""
        if self.question.limits is not None:
            low, high = self.question.limits
            return high - low, high - low
        seen = [values for values in self.values if values.size]
        return max(0.0, -apart.min()), max(v.max() for v in seen) - min(v.min() for v in seen)

    def next_round(self) -> dict[int, int]:
        """Return positions and how many examples each should have; nothing when there is nothing left to do."""
        counts, seen = self.question.counts, self.seen
        known = np.flatnonzero(seen)
        open_ = [i for i in known if self.upper[i] > self.question.tolerance]
        more = {int(i): counts[counts.index(seen[i]) + 1] for i in open_ if seen[i] < self.question.size}
        if not open_:
            return {(a + b) // 2: counts[0] for a, b in _gaps(known)}
        best = max(open_, key=lambda i: self.rise[i])
        near = {(a + b) // 2 for a, b in _gaps(known) if best in (a, b)}
        return more | dict.fromkeys(near, more.get(int(best), int(seen[best])))

    def answer(self) -> Answer:
        known = self.seen > 0
        last = self.looks[-1]
        verdict: Verdict = "undecided"
        if last.lower > self.question.tolerance:
            verdict = "above"
        elif last.upper <= self.question.tolerance:
            verdict = "below tolerance"
        both = np.where(known[:, None], np.stack([self.lower, self.upper], axis=-1), np.nan)
        rise = np.where(known, self.rise, np.nan)
        return Answer(verdict, self.seen, rise, both, tuple(self.values), tuple(self.looks))


def _gaps(known: Iterable[int]) -> list[tuple[int, int]]:
    places = [int(i) for i in known]
    return [(a, b) for a, b in itertools.pairwise(places) if b - a > 1]


def bounds(
    apart: NDArray[np.float64], question: Question, ranges: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    r"""Return mean rise, lower and upper bound of every position at one look.

    The upper bound is one of its own position: the maximum's is among them wherever it is. The lower ones hold at all
    positions together, by the quantile of the maximum of a Gaussian vector with the rises' own correlation. Both
    imagine two more examples, one that falls or rises by all of the range; of a finite set with a share u unseen,
    means move by u and standard errors by :math:`\sqrt{u}`.

    Parameters
    ----------
    apart : array, shape (example, t)
        Rises of the examples seen.
    question : Question
        Has the error allowed and the size of the set.
    ranges : pair of float
        How far an unseen example may fall, and rise.

    Returns
    -------
    three arrays, shape (t,)
    """
    count = len(apart)
    height = apart.mean(axis=0)
    unseen = 1 - count / question.size if question.finite else 1.0
    if unseen == 0:
        return height, height, height
    fall, rise = ranges
    z = float(stdtrit(max(count - 1, 1), 1 - question.tail))
    varying = apart.std(axis=0) > 0
    c = max(z, _greatest_normal(apart[:, varying], question.tail)) if varying.any() else z
    low, low_error = _with_imagined(apart, -fall)
    high, high_error = _with_imagined(apart, rise)
    lower = height + unseen * (low - height) - c * np.sqrt(unseen) * low_error
    upper = height + unseen * (high - height) + z * np.sqrt(unseen) * high_error
    return height, lower, upper


def _with_imagined(apart: NDArray[np.float64], value: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and their standard errors with the imagined examples among those seen."""
    count = len(apart) + _IMAGINED
    mean = (apart.sum(axis=0) + _IMAGINED * value) / count
    squares = ((apart - mean) ** 2).sum(axis=0) + _IMAGINED * (value - mean) ** 2
    return mean, np.sqrt(squares) / count


def _greatest_normal(apart: NDArray[np.float64], tail: float) -> float:
    """Return the upper quantile of the greatest of correlated standard normals; never above the union bound."""
    correlation = np.atleast_2d(np.corrcoef(apart, rowvar=False))
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(values.clip(min=0.0))
    drawn = np.random.default_rng(0).standard_normal((_DRAWS, len(values))) @ root.T
    greatest = np.concatenate([drawn.max(axis=1), (-drawn).max(axis=1)])
    return min(float(np.quantile(greatest, 1 - tail)), float(-ndtri(tail / len(values))))
