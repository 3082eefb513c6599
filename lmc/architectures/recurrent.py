"""Recurrent networks that read an image row by row (keys rnn.* or lstm.*, and fc)."""

from __future__ import annotations

import abc
from typing import Any

from torch import Tensor, nn

from lmc._errors import ArchitectureError
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, shapes_of


class AbstractRowNetwork(AbstractNetwork):
    """Reads (channels, rows, columns) as a sequence of rows, and classifies from the last step of the last layer."""

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, channels, rows, columns) or sequences (batch, steps, features) to logits."""

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read hidden units, layers, directions and ends."""
        shapes = shapes_of(state)
        first, inner, fc = (
            shapes.get(key, ()) for key in (f"{cls.name}.weight_ih_l0", f"{cls.name}.weight_hh_l0", "fc.weight")
        )
        if (len(first), len(inner), len(fc)) != (2, 2, 2):
            return None
        return {
            "hidden": inner[1],
            "layers": next(i for i in range(len(state) + 1) if f"{cls.name}.weight_ih_l{i}" not in state),
            "bidirectional": f"{cls.name}.weight_ih_l0_reverse" in state,
            "features": first[1],
            "steps": input_shape[-2] if input_shape and len(input_shape) > 1 else first[1],
            "classes": fc[0],
        }

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Take one step for each row of the image."""
        if len(input_shape) not in (2, 3):
            raise ArchitectureError(
                f"{cls.name} reads images row by row; this dataset has examples of shape {input_shape}."
            )
        features = input_shape[-1] * (input_shape[0] if len(input_shape) == 3 else 1)
        return {"features": features, "steps": input_shape[-2], "classes": num_classes}

    def describe(self) -> str:
        """Return ``lstm over rows, 128 units, 2 layers``."""
        o = self.options
        kind = ", bidirectional" if o["bidirectional"] else ""
        return f"{self.name} over rows of {o['features']}, {o['hidden']} units, {o['layers']} layer(s){kind}"

    def takes(self, shape: Shape) -> bool:
        """Any number of rows with the right number of entries."""
        return len(shape) in (2, 3) and shape[-1] * (shape[0] if len(shape) == 3 else 1) == self.options["features"]


class RNN(AbstractRowNetwork):
    """Elman network over image rows.

    Parameters
    ----------
    hidden, layers : int
        Units per direction, and stacked layers.
    bidirectional : bool
        Whether a second direction reads the rows backwards.
    nonlinearity : {"tanh", "relu"}
        Of the recurrence.
    features, steps, classes : int
        Entries of a row, rows, outputs.
    """

    name = "rnn"
    assumed = ("tanh, rows of a square image and the last step assumed",)

    def __init__(
        self,
        *,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        nonlinearity: str = "tanh",
        features: int = 28,
        steps: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.options = _options(hidden, layers, bidirectional, features, steps, classes)
        self.options |= {"nonlinearity": nonlinearity}
        self.input_shape = (1, steps, features)
        self.rnn = nn.RNN(
            features, hidden, layers, batch_first=True, bidirectional=bidirectional, nonlinearity=nonlinearity
        )
        self.fc = nn.Linear(hidden * (1 + bidirectional), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, channels, rows, columns) or sequences (batch, steps, features) to logits."""
        return self.fc(self.rnn(_rows(x))[0][:, -1])


class LSTM(AbstractRowNetwork):
    """Long short-term memory over image rows.

    Parameters
    ----------
    hidden, layers : int
        Units per direction, and stacked layers.
    bidirectional : bool
        Whether a second direction reads the rows backwards.
    features, steps, classes : int
        Entries of a row, rows, outputs.

    References
    ----------
    .. [1] Hochreiter, Schmidhuber. Long Short-Term Memory. Neural Computation 1997.
    """

    name = "lstm"
    assumed = ("rows of a square image and the last step assumed",)

    def __init__(
        self,
        *,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        features: int = 28,
        steps: int = 28,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.options = _options(hidden, layers, bidirectional, features, steps, classes)
        self.input_shape = (1, steps, features)
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(hidden * (1 + bidirectional), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (batch, channels, rows, columns) or sequences (batch, steps, features) to logits."""
        return self.fc(self.lstm(_rows(x))[0][:, -1])


def _options(hidden: int, layers: int, bidirectional: bool, features: int, steps: int, classes: int) -> dict[str, Any]:
    return {
        "hidden": hidden,
        "layers": layers,
        "bidirectional": bidirectional,
        "features": features,
        "steps": steps,
        "classes": classes,
    }


def _rows(x: Tensor) -> Tensor:
    """Turn (batch, channels, rows, columns) into (batch, rows, channels x columns); sequences pass."""
    return x.transpose(1, 2).flatten(2) if x.ndim == 4 else x
