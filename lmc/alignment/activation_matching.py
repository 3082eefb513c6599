"""Activation matching: units that fire alike on the same examples are the same unit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.alignment.base import AbstractAlignment, Needs, check_seed
from lmc.alignment.capture import Moments, watch
from lmc.alignment.families import Family, Worth, families, match, worth_of
from lmc.alignment.result import AlignmentResult
from lmc.datasets import AbstractData
from lmc.symmetry import Axis, PermutationSpec
from lmc.symmetry.sites import Site


@dataclass(frozen=True)
class ActivationMatching(AbstractAlignment):
    r"""Match units by what they do on examples.

    .. math:: \max_P \sum_u \operatorname{corr}(a_u, b_{P(u)})
        \quad\text{or}\quad \min_P \sum_u \lVert a_u - b_{P(u)} \rVert^2

    Both networks run once over the examples. Every position of an image and every step of a sequence is a sample; the
    sums are kept in float64, whatever the number of samples. Units that are seen at several places (a stream that
    residual blocks add into) are matched by the sum over all places, each group by one exact assignment, heads together
    with what lies inside them. A unit that never varies correlates with nothing, and takes what is left.

    Parameters
    ----------
    by : {"correlation", "distance"}
        What is matched.
    place : {"post", "pre"}
        After the nonlinearities, as the next layer reads it, or before.
    examples : int or None
        How many examples, the first of the data; None for all.
    seed : int
        Of restarts, where there are groups inside groups.

    References
    ----------
    .. [1] Li, Yosinski, Clune, Lipson, Hopcroft. Convergent Learning. ICLR 2016.
    .. [2] Ainsworth, Hayase, Srinivasa. Git Re-Basin. ICLR 2023, Sec. 3.1.
    .. [3] Jordan, Sedghi, Saukh, Entezari, Neyshabur. REPAIR. ICLR 2023, Sec. 2.2 (correlations).
    """

    by: Literal["correlation", "distance"] = "correlation"
    place: Literal["post", "pre"] = "post"
    examples: int | None = 10_000
    seed: int = 0

    citation: ClassVar[str] = """@inproceedings{li2016convergent,
  title = {Convergent Learning: Do different neural networks learn the same representations?},
  author = {Li, Yixuan and Yosinski, Jason and Clune, Jeff and Lipson, Hod and Hopcroft, John},
  booktitle = {International Conference on Learning Representations},
  year = {2016}
}"""

    def __post_init__(self) -> None:
        for name, known in (("by", ("correlation", "distance")), ("place", ("post", "pre"))):
            if getattr(self, name) not in known:
                raise unknown(f"activations: {name}", getattr(self, name), known)
        check_examples(self.examples, "activations")
        check_seed(self.seed)

    @property
    def needs(self) -> Needs:
        """Examples, and the network."""
        return "data"

    def align(
        self,
        a: StateDict,
        b: StateDict,
        spec: PermutationSpec,
        data: AbstractData | None = None,
        *,
        module: nn.Module | None = None,
    ) -> AlignmentResult:
        """Run both networks once, then assign group by group."""
        assert data is not None
        start = time.perf_counter()
        seen = Activations(spec)
        count = watch(a, b, spec, data, module, place=self.place, examples=self.examples, seen=seen)
        watched = time.perf_counter()
        permutation, now, best, dead = {}, 0.0, 0.0, 0
        for family in seen.families:
            worths, still = seen.worths(family, self.by)
            found, _ = match(family, worths, self.seed)
            permutation |= found
            now += worth_of(family, worths, {group.name: group.identity() for group in family.groups})
            best += worth_of(family, worths, found)
            dead += still
        scale = 1 / max(1, seen.rows)
        return AlignmentResult(
            f"activations?by={self.by}&place={self.place}&examples={count}",
            spec,
            permutation,
            objective=best * scale,
            objective_name="mean correlation of matched units" if self.by == "correlation" else _DISTANCE,
            trace=(now * scale, best * scale),
            message=_message(count, dead, seen.unseen()),
            restarts=(best * scale,),
            seconds={"cost": watched - start, "assignment": time.perf_counter() - watched},
            seed=self.seed,
            citation=self.citation,
        )


_DISTANCE = "minus the mean squared distance of matched units' activations"


def check_examples(examples: int | None, method: str) -> None:
    """Raise UsageError for a number of examples that says nothing."""
    if examples is not None and (not isinstance(examples, int) or isinstance(examples, bool) or examples < 2):
        raise UsageError(f"{method}: examples must be at least 2, or none for all, got {examples!r}.")


def _message(count: int, dead: int, unseen: Sequence[str]) -> str:
    notes = [f"on {count:,} examples"]
    if dead:
        notes.append(f"{dead} units never vary on them")
    if unseen:
        notes.append(f"left as they are, never seen alone: {', '.join(unseen)}")
    return "; ".join(notes)


class Activations:
    """Moments of every family at every site.

    Parameters
    ----------
    spec : PermutationSpec
        Whose groups are matched.
    inner : bool
        As in :class:`Moments`.
    """

    def __init__(self, spec: PermutationSpec, *, inner: bool = False) -> None:
        self.families: list[Family] = []
        self._spec, self._inner = spec, inner
        self._places: dict[str, dict[tuple, tuple[Site, tuple[int, ...], Moments]]] = {}

    def begin(self, sites: Sequence[Site]) -> None:
        """Learn which groups go together."""
        self.families = families(self._spec, [site.axes for site in sites])
        self._places = {family.name: {} for family in self.families}

    def add(self, site: Site, a: Tensor, b: Tensor, other: Site | None = None) -> None:
        """Take in what both networks show at a site; ``other`` is B's, where its widths are others."""
        for family in self.families:
            axes, axes_b = family.held(site.axes), family.held((other or site).axes)
            if axes:
                # Sites of another batch size are the same place: nodes keep their names.
                key = (site.node, site.output)
                kept = self._places[family.name].setdefault(key, (site, tuple(a.shape), Moments(inner=self._inner)))
                kept[2].add(family.rows(axes, a), family.rows(axes_b, b))

    def places(self, family: Family) -> list[tuple[dict[str, Axis], tuple[int, ...], Moments]]:
        """Return every place of a family: where its groups lie there, the shape of the tensor, and the moments."""
        return [(family.held(site.axes), shape, found) for site, shape, found in self._places[family.name].values()]

    def worths(self, family: Family, by: str) -> tuple[list[Worth], int]:
        """Return what pairing is worth at every place, and how many units do not vary there."""
        worths, dead = [], 0
        for axes, shape, moments in self.places(family):
            if by == "correlation":
                pairs, still = moments.correlation()
            else:
                pairs, still = -moments.squared_distance() / moments.count, 0
            worths.append(Worth(axes, shape, pairs))
            dead += still
        return worths, dead

    @property
    def rows(self) -> int:
        """Number of units over all places."""
        return sum(len(moments.sum_a) for family in self.families for _, _, moments in self.places(family))

    def unseen(self) -> list[str]:
        """Return the groups that were seen nowhere."""
        seen = {name for places in self._places.values() for site, _, _ in places.values() for name in site.axes}
        return [name for family in self.families for name in sorted(family.names) if name not in seen]
