"""Kind ``conjecture``: verdicts on pairs of checkpoints, what they rest on, and controls."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.barrier import BARRIER
from lmc.schema.variable import Variable

_TRIED = ("pair", "alignment")

CONJECTURE: Mapping[str, Variable] = {
    **{name: BARRIER[name] for name in ("alignment", "t", "bound", "split")},
    "pair": Variable(("pair",), "pair of checkpoints", "1"),
    "model": Variable(("model",), "checkpoint", "1"),
    "control": Variable(("control",), "control whose answer is known", "1"),
    "a": Variable(("pair",), "checkpoint A", "1"),
    "b": Variable(("pair",), "checkpoint B", "1"),
    "model_status": Variable(("model",), "used, or why it is not", "1"),
    "model_loss": Variable(("model",), "loss of the checkpoint", "nats"),
    "model_accuracy": Variable(("model",), "accuracy of the checkpoint", "1", required=False),
    "verdict": Variable(("pair",), "verdict on the pair", "1"),
    "method": Variable(("pair",), "alignment chosen on the other half of the examples", "1"),
    "p": Variable(("pair",), "error probability of the verdict, corrected for all pairs", "1"),
    "why": Variable(("pair",), "reason of the verdict, or what would decide", "1"),
    "tried": Variable(_TRIED, "whether the alignment was tried", "1"),
    "examples": Variable(_TRIED, "examples that the barrier is reported on", "1"),
    "barrier": Variable(_TRIED, "barrier on the half that is reported", "1"),
    "barrier_ci": Variable((*_TRIED, "bound"), "95% interval of the barrier", "1"),
    "p_below": Variable(_TRIED, "error probability of: the barrier is under the tolerance", "1"),
    "p_above": Variable(_TRIED, "error probability of: the barrier is over the tolerance", "1"),
    "loss": Variable((*_TRIED, "t"), "loss", "nats"),
    "accuracy": Variable((*_TRIED, "t"), "accuracy", "1", required=False),
    "seconds": Variable(_TRIED, "time spent aligning and evaluating", "s"),
    "cosine": Variable(("pair",), "cosine between the matrices of A and B", "1"),
    "aligned_cosine": Variable(("pair",), "the same after weight matching", "1"),
    "control_passed": Variable(("control",), "whether the known answer was given", "1"),
    "control_barrier": Variable(("control",), "barrier of the control", "1"),
    "control_ci": Variable(("control", "bound"), "95% interval of the barrier of the control", "1"),
    "control_message": Variable(("control",), "what the control means", "1"),
    "fraction_connected": Variable((), "share of the pairs that are connected", "1"),
    "fraction_connected_ci": Variable(("bound",), "interval of it over the draw of the models", "1", required=False),
    "strong_barrier": Variable(("pair",), "barrier with one permutation for each model", "1", required=False),
    "strong_ci": Variable(("pair", "bound"), "95% interval of that barrier", "1", required=False),
    "strong_verdict": Variable(("pair",), "verdict with one permutation for each model", "1", required=False),
}
