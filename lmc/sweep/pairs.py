"""Which pairs of checkpoints: all, within or across a coordinate, with a reference, or so many drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmc._errors import UsageError, did_you_mean
from lmc.sweep.members import Member
from lmc.sweep.settings import PairSettings

MOST = 20_000_000
"""Pairs of one sweep; more are refused, with the ways round the square."""


def choose_pairs(members: Sequence[Member], settings: PairSettings) -> NDArray[np.int64]:
    """Return the pairs as indices of members, shape (pair, 2), A before B, in order.

    Parameters
    ----------
    members : sequence of Member
        The checkpoints.
    settings : PairSettings
        Which pairs.

    Raises
    ------
    UsageError
        For an unknown coordinate or reference, no pair, or more of them than anybody could measure.
    """
    within, across = _coordinates(members, settings)
    agree, differ = _codes(members, within), _codes(members, across)
    if settings.reference is not None:
        found = _with_reference(members, settings.reference, agree, differ)
    elif settings.sample is not None:
        found = _drawn(agree, differ, settings.sample, settings.seed)
    else:
        found = _all(agree, differ)
    if not len(found):
        raise UsageError(f"No pair among {len(members)} checkpoints is as [pairs] asks ({settings}).")
    return found


def in_blocks(pairs: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return an order in which pairs that share checkpoints come together: squares of so many checkpoints a side."""
    i, j = pairs[:, 0], pairs[:, 1]
    return np.lexsort((j, i, j // size, i // size))


def _coordinates(members: Sequence[Member], settings: PairSettings) -> tuple[list[str], list[str]]:
    known = list(dict.fromkeys(key for member in members for key in member.coordinates))
    for name in (*settings.within, *settings.across):
        if name not in known:
            names = ", ".join(known) or "none: give name = or metadata = in [checkpoints]"
            raise UsageError(f"[pairs] names a coordinate {name!r}.{did_you_mean(name, known)} There are: {names}.")
    both = set(settings.within) & set(settings.across)
    if both:
        raise UsageError(f"[pairs]: ends cannot both agree and differ in {', '.join(sorted(both))}.")
    rest = [name for name in known if name not in settings.across]
    within = list(settings.within) if settings.within or not settings.across else rest
    return within, list(settings.across)


def _codes(members: Sequence[Member], names: Sequence[str]) -> NDArray[np.int64]:
    """Number the values of coordinates, shape (member, coordinate); what a member lacks equals nothing."""
    table = np.zeros((len(members), len(names)), dtype=np.int64)
    for column, name in enumerate(names):
        numbers: dict[object, int] = {}
        for row, member in enumerate(members):
            value = member.coordinates.get(name, ("lacking", row))
            table[row, column] = numbers.setdefault((type(value).__name__ == "str", value), len(numbers))
    return table


def _groups(agree: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the members that agree, a group each."""
    if not agree.shape[1]:
        return [np.arange(len(agree))]
    _, which = np.unique(agree, axis=0, return_inverse=True)
    which = which.ravel()
    order = np.argsort(which, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(which[order])) + 1)


def _all(agree: NDArray[np.int64], differ: NDArray[np.int64]) -> NDArray[np.int64]:
    groups = _groups(agree)
    count = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    if count > MOST:
        raise UsageError(
            f"{len(agree)} checkpoints make {count:,} pairs, more than {MOST:,}. Draw some (sample = 10000 in [pairs]; "
            "intervals over checkpoints stay honest), or measure pairs with one of them (reference = NAME)."
        )
    found = []
    for group in groups:
        i, j = np.triu_indices(len(group), 1)
        found.append(np.stack([group[i], group[j]], axis=1))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
    return _sorted(pairs[(differ[pairs[:, 0]] != differ[pairs[:, 1]]).all(axis=1)])


def _with_reference(
    members: Sequence[Member], name: str, agree: NDArray[np.int64], differ: NDArray[np.int64]
) -> NDArray[np.int64]:
    names = [member.name for member in members]
    if name not in names:
        raise UsageError(f"[pairs] reference = {name!r} is no checkpoint of this sweep.{did_you_mean(name, names)}")
    at = names.index(name)
    good = (agree == agree[at]).all(axis=1) & (differ != differ[at]).all(axis=1)
    good[at] = False
    others = np.flatnonzero(good)
    return np.stack([np.full_like(others, at), others], axis=1)


def _drawn(agree: NDArray[np.int64], differ: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Draw pairs without making the square; all of them where there are not many more."""
    groups = [group for group in _groups(agree) if len(group) > 1]
    sizes = np.array([len(group) * (len(group) - 1) // 2 for group in groups], dtype=np.int64)
    if count < 1:
        raise UsageError(f"[pairs] sample = {count}: draw at least one pair.")
    draw = np.random.default_rng(seed)
    if sizes.sum() <= 4 * count:
        pairs = _all(agree, differ)
        chosen = draw.choice(len(pairs), min(count, len(pairs)), replace=False)
        return pairs[np.sort(chosen)]
    found: dict[tuple[int, int], None] = {}
    for _ in range(100):
        which = draw.choice(len(groups), 2 * count, p=sizes / sizes.sum())
        lengths = np.array([len(groups[k]) for k in which])
        first = draw.integers(0, lengths)
        second = (first + draw.integers(1, lengths)) % lengths
        for k, one, two in zip(which.tolist(), first.tolist(), second.tolist(), strict=True):
            i, j = sorted((int(groups[k][one]), int(groups[k][two])))
            if (differ[i] != differ[j]).all() and len(found) < count:
                found[i, j] = None
        if len(found) == count:
            break
    return _sorted(np.array(list(found), dtype=np.int64).reshape(-1, 2))


def _sorted(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = np.sort(pairs, axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
