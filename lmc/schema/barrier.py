"""Kind ``barrier``: loss and accuracy along paths between two models."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.variable import Variable

_PATH = ("alignment", "t")
_SCALAR = ("alignment", "baseline")
_UNITS = ("alignment", "layer", "stage")

BARRIER: Mapping[str, Variable] = {
    "alignment": Variable(("alignment",), "alignment of B to A", "1"),
    "t": Variable(("t",), "position along the path (0 is A, 1 is B)", "1"),
    "example": Variable(("example",), "index of the example in the dataset", "1"),
    "baseline": Variable(("baseline",), "what the barrier is measured against", "1"),
    "bound": Variable(("bound",), "end of the confidence interval", "1"),
    "split": Variable((), "split of the dataset", "1"),
    "layer": Variable(("layer",), "layer whose units were repaired", "1", required=False),
    "stage": Variable(("stage",), "before or after the repair", "1", required=False),
    "end": Variable(("end",), "end of the path", "1", required=False),
    "class": Variable(("class",), "class", "1", required=False),
    "comparison": Variable(("comparison",), "points of the path that are compared", "1", required=False),
    "module": Variable(("module",), "module of the network", "1", required=False),
    "loss": Variable(_PATH, "loss", "nats"),
    "accuracy": Variable(_PATH, "accuracy", "1", required=False),
    "loss_ci": Variable((*_PATH, "bound"), "95% interval of the loss", "nats"),
    "accuracy_ci": Variable((*_PATH, "bound"), "95% interval of the accuracy", "1", required=False),
    "loss_barrier": Variable(_SCALAR, "loss barrier", "nats"),
    "error_barrier": Variable(_SCALAR, "error barrier", "1", required=False),
    "loss_barrier_ci": Variable((*_SCALAR, "bound"), "95% interval of the loss barrier", "nats"),
    "error_barrier_ci": Variable((*_SCALAR, "bound"), "95% interval of the error barrier", "1", required=False),
    "loss_area": Variable(("alignment",), "area between the loss curve and its chord", "nats", required=False),
    "loss_curvature": Variable(("alignment", "end"), "second derivative of the loss along the path", "nats", False),
    "weight_distance": Variable(("alignment",), "distance between the parameters of A and B", "1", required=False),
    "weight_cosine": Variable(("alignment",), "cosine between the matrices of A and B", "1", required=False),
    "broken": Variable(("alignment",), "examples right at both ends and wrong at the midpoint", "1", required=False),
    "class_loss_barrier": Variable(("alignment", "class"), "loss barrier of each class", "nats", required=False),
    "class_error_barrier": Variable(("alignment", "class"), "error barrier of each class", "1", required=False),
    "example_barrier": Variable(("alignment", "example"), "loss barrier of each example", "nats", required=False),
    "example_target": Variable(("example",), "class of each example", "1", required=False),
    "dtype_loss_difference": Variable(("alignment", "end"), "loss in this dtype minus float32", "nats", required=False),
    "dtype_accuracy_difference": Variable(
        ("alignment", "end"), "accuracy in this dtype minus float32", "1", required=False
    ),
    "top5_accuracy": Variable(_PATH, "top-5 accuracy", "1", required=False),
    "disagreement": Variable(("alignment", "comparison"), "examples predicted differently", "1", required=False),
    "closeness": Variable(("alignment", "module"), "distance of midpoint and mean activations", "1", required=False),
    "sharpness": Variable(("alignment", "end"), "largest eigenvalue of the Hessian", "nats", required=False),
    "sharpness_converged": Variable(("alignment", "end"), "sharpness converged", "1", required=False),
    "example_loss": Variable((*_PATH, "example"), "loss of each example", "nats"),
    "example_correct": Variable((*_PATH, "example"), "example classified correctly", "1", required=False),
    "alignment_message": Variable(("alignment",), "how the alignment ended", "1", required=False),
    "objective": Variable(("alignment",), "objective of the alignment", "1", required=False),
    "unrepaired_loss": Variable(("alignment",), "loss at the midpoint without the repair", "nats", required=False),
    "unrepaired_accuracy": Variable(("alignment",), "accuracy at the midpoint without the repair", "1", required=False),
    "unit_std": Variable(_UNITS, "midpoint: standard deviation of units over that of the ends", "1", required=False),
    "unit_mean": Variable(_UNITS, "midpoint: distance of units' means from the ends', in std", "1", required=False),
    "repair_treatment": Variable(("layer",), "what the repair did to the layer", "1", required=False),
    "seconds_align": Variable(("alignment",), "time spent aligning", "s", required=False),
    "seconds_evaluate": Variable(("alignment",), "time spent evaluating", "s", required=False),
}
