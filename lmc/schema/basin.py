"""Kind ``basin``: loss and accuracy on a plane of parameters."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.variable import Variable

_PLANE = ("u", "v")
_PAIR = ("mode", "other")

BASIN: Mapping[str, Variable] = {
    "u": Variable(("u",), "distance from A along u", "1"),
    "v": Variable(("v",), "distance from A along v", "1"),
    "mode": Variable(("mode",), "mode", "1"),
    "other": Variable(("other",), "the other mode of a pair", "1"),
    "level": Variable(("level",), "level of the loss", "nats"),
    "bound": Variable(("bound",), "end of the confidence interval", "1"),
    "split": Variable((), "split of the dataset", "1"),
    "example": Variable(("example",), "index of the example in the dataset", "1", required=False),
    "loss": Variable(_PLANE, "loss", "nats"),
    "accuracy": Variable(_PLANE, "accuracy", "1", required=False),
    "loss_ci": Variable((*_PLANE, "bound"), "95% interval of the loss", "nats"),
    "accuracy_ci": Variable((*_PLANE, "bound"), "95% interval of the accuracy", "1", required=False),
    "mode_u": Variable(("mode",), "u of the mode", "1"),
    "mode_v": Variable(("mode",), "v of the mode", "1"),
    "mode_loss": Variable(("mode",), "loss of the mode", "nats"),
    "mode_accuracy": Variable(("mode",), "accuracy of the mode", "1", required=False),
    "mode_copy_of": Variable(("mode",), "the mode that this one is an aligned copy of", "1"),
    "saddle_loss": Variable(_PAIR, "saddle height of the loss between two modes", "nats"),
    "saddle_error": Variable(_PAIR, "saddle height of the error between two modes", "1", required=False),
    "saddle_loss_ci": Variable((*_PAIR, "bound"), "95% interval of the saddle height of the loss", "nats"),
    "saddle_error_ci": Variable(
        (*_PAIR, "bound"), "95% interval of the saddle height of the error", "1", required=False
    ),
    "escape_loss": Variable(("mode",), "loss at which the basin of the mode reaches the border of the grid", "nats"),
    "component": Variable(("level", *_PLANE), "connected component of loss <= level (0: above the level)", "1"),
    "mode_component": Variable(("level", "mode"), "component that holds the mode (0: it is above the level)", "1"),
    "component_area": Variable(("level", "mode"), "area of the component that holds the mode", "1"),
    "component_open": Variable(("level", "mode"), "the component that holds the mode reaches the border", "1"),
    "example_loss": Variable((*_PLANE, "example"), "loss of each example", "nats", required=False),
    "example_correct": Variable((*_PLANE, "example"), "example classified correctly", "1", required=False),
    "seconds_evaluate": Variable((), "time spent evaluating", "s", required=False),
}
