"""Kind ``adaptive``: whether barriers are below a tolerance, with no more evaluations than that takes."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.barrier import BARRIER
from lmc.schema.variable import Variable

ADAPTIVE: Mapping[str, Variable] = {
    **{name: BARRIER[name] for name in ("alignment", "t", "example", "bound", "split", "alignment_message")},
    **{name: BARRIER[name] for name in ("objective", "seconds_align", "seconds_evaluate", "accuracy", "loss")},
    "verdict": Variable(("alignment",), "barrier against the tolerance", "1"),
    "barrier": Variable(("alignment",), "greatest rise at the positions evaluated", "nats"),
    "barrier_ci": Variable(("alignment", "bound"), "95% interval of the barrier on the whole grid", "nats"),
    "rise": Variable(("alignment", "t"), "rise above the baseline", "nats"),
    "rise_ci": Variable((*("alignment", "t"), "bound"), "95% interval of the rise, at all looks", "nats"),
    "examples": Variable(("alignment", "t"), "examples evaluated", "1"),
    "evaluations": Variable(("alignment",), "evaluations of an example at a position", "1"),
    "evaluations_full": Variable((), "evaluations of all examples at all positions", "1"),
    "evaluation_loss": Variable(("evaluation",), "loss of each evaluation", "nats"),
    "evaluation_correct": Variable(("evaluation",), "evaluation classified correctly", "1", required=False),
}
