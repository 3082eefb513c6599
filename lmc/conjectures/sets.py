"""What holds of a whole set: how many pairs are connected, and whether one permutation for each model serves all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lmc._types import StateDict
from lmc.alignment import align_many
from lmc.barriers.nodes import node_interval
from lmc.conjectures.evidence import Bench
from lmc.conjectures.verdicts import CONNECTED, Tried, Verdict, judge


def fraction(
    verdicts: Sequence[Verdict], pairs: Sequence[tuple[str, str]], confidence: float, seed: int
) -> tuple[float, NDArray[np.float64] | None]:
    """Return the share of connected pairs, and its interval over the draw of the models.

    Where all pairs agree, resampling shows no spread, although the next model may differ: the interval is then that of
    as many independent pairs of models as there are, n // 2 (rule of three, Clopper and Pearson).

    Returns
    -------
    share : float
    interval : array, shape (2,), or None
        None for fewer than three models.
    """
    connected = np.array([verdict.word == CONNECTED for verdict in verdicts], dtype=np.float64)
    share = float(connected.mean())
    models = len({name for pair in pairs for name in pair})
    if models < 3:
        return share, None
    if share in (0.0, 1.0):
        room = 1 - ((1 - confidence) / 2) ** (1 / (models // 2))
        return share, np.array([0.0, room] if share == 0 else [1 - room, 1.0])
    return share, node_interval(connected, pairs, confidence, seed=seed).clip(0.0, 1.0)


def strong(
    bench: Bench, states: Mapping[str, StateDict], pairs: Sequence[tuple[str, str]]
) -> tuple[list[Tried], list[Verdict]]:
    """Permute every model once, into one common order, and measure all pairs there.

    Parameters
    ----------
    bench : Bench
        What measurements have in common.
    states : mapping of str to state dict
        The models.
    pairs : sequence of (str, str)
        Which pairs.

    Returns
    -------
    tried : list of Tried
        For each pair.
    verdicts : list of Verdict

    References
    ----------
    .. [1] Sharma et al. Simultaneous Linear Connectivity of Neural Networks modulo Permutation. 2024.
    """
    names = list(states)
    common = align_many(
        [states[name] for name in names], bench.proof.spec, method="merge-many", seed=bench.question.seed
    )
    moved = dict(zip(names, common.apply([states[name] for name in names]), strict=True))
    tried = [bench.measure(moved[a], moved[b], "none").tried for a, b in pairs]
    return tried, judge([{"one permutation each": one} for one in tried], bench.question)
