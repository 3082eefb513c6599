"""Kind ``fusion``: networks, what they were fused into, and baselines, each row on the same examples."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.variable import Variable

ROLES = ("parent", "ensemble", "baseline", "fused", "fine-tuned")
"""What a row of a fusion table is."""

FUSION: Mapping[str, Variable] = {
    "model": Variable(("model",), "model", "1"),
    "role": Variable(("model",), "what the model is in the table", "1"),
    "bound": Variable(("bound",), "end of the confidence interval", "1"),
    "split": Variable((), "split of the dataset", "1"),
    "example": Variable(("example",), "index of the example in the dataset", "1", required=False),
    "loss": Variable(("model",), "loss", "nats"),
    "accuracy": Variable(("model",), "accuracy", "1", required=False),
    "loss_ci": Variable(("model", "bound"), "95% interval of the loss", "nats"),
    "accuracy_ci": Variable(("model", "bound"), "95% interval of the accuracy", "1", required=False),
    "example_loss": Variable(("model", "example"), "loss of each example", "nats", required=False),
    "example_correct": Variable(("model", "example"), "example classified correctly", "1", required=False),
    "parameters": Variable(("model",), "number of parameters", "1", required=False),
    "objective": Variable(("model",), "objective of the fusion", "1", required=False),
    "fusion_message": Variable(("model",), "how the fusion ended", "1", required=False),
    "seconds_fuse": Variable(("model",), "time spent fusing", "s", required=False),
}
