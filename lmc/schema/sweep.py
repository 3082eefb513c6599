"""Kind ``sweep``: barriers of many pairs, without the values of single examples."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.barrier import BARRIER
from lmc.schema.variable import Variable

_OF_PAIRS = (
    "loss accuracy loss_ci accuracy_ci loss_barrier error_barrier loss_barrier_ci error_barrier_ci loss_area "
    "weight_distance weight_cosine broken objective alignment_message seconds_align seconds_evaluate"
).split()


def _of_pairs(name: str) -> Variable:
    known = BARRIER[name]
    return Variable(("pair", *known.dims), known.long_name, known.units, known.required)


SWEEP: Mapping[str, Variable] = {
    **{name: BARRIER[name] for name in ("alignment", "t", "baseline", "bound", "split")},
    "pair": Variable(("pair",), "pair of checkpoints", "1"),
    "a": Variable(("pair",), "checkpoint A", "1"),
    "b": Variable(("pair",), "checkpoint B", "1"),
    "status": Variable(("pair", "alignment"), "done, failed or missing", "1"),
    **{name: _of_pairs(name) for name in _OF_PAIRS},
}
