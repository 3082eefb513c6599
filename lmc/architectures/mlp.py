"""Multilayer perceptrons, with the layer names of whoever trained them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lmc._errors import UsageError, unknown
from lmc._types import StateDict
from lmc.architectures.architecture import AbstractNetwork, Shape, as_tuple, attach, dashed, flat_size, shapes_of
from lmc.architectures.naming import natural

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": F.tanh,
    "gelu": F.gelu,
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "identity": lambda x: x,
}
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


class MLP(AbstractNetwork):
    """Linear layers with an activation between them; the input is flattened first.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden layers, outputs.
    width, depth : int, optional
        Replace the hidden part of ``widths``: ``depth`` layers of ``width`` units.
    inputs, classes : int, optional
        Replace the ends of ``widths``.
    bias : bool or sequence of bool
        For all layers, or one each.
    activation : str
        A key of ``ACTIVATIONS``.
    norm : {"none", "batch"}
        BatchNorm between each hidden linear layer and its activation.
    names, norms : sequence of str, optional
        Dotted names of the linear and normalisation layers, so that the keys are those of a checkpoint.
    """

    name = "mlp"
    assumed = ("ReLU assumed",)

    def __init__(
        self,
        *,
        widths: Sequence[int] = (784, 64, 64, 10),
        width: int | None = None,
        depth: int | None = None,
        inputs: int | None = None,
        classes: int | None = None,
        bias: bool | Sequence[bool] = True,
        activation: str = "relu",
        norm: str = "none",
        names: Sequence[str] | None = None,
        norms: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown("activation", str(activation), ACTIVATIONS)
        norm = norm or "none"
        if norm not in ("none", "batch"):
            raise unknown("norm", str(norm), ("none", "batch"))
        widths = _widths(as_tuple(widths), width, depth, inputs, classes)
        count = len(widths) - 1
        biases = as_tuple(bias) * (count if len(as_tuple(bias)) == 1 else 1)
        self._linears = _names("names", names, count, "fc")
        self._norms = _names("norms", norms, count - 1, "bn") if norm == "batch" else ()
        if len(biases) != count:
            raise UsageError(f"mlp: {count} layers, but bias={biases} gives {len(biases)} values.")
        self._activation = ACTIVATIONS[activation]
        self.input_shape = (widths[0],)
        self.options = {
            "widths": widths,
            "bias": biases[0] if len(set(biases)) == 1 else biases,
            "activation": activation,
            "norm": norm,
            "names": self._linears,
        } | ({"norms": self._norms} if self._norms else {})
        for i, name in enumerate(self._linears):
            attach(self, name, nn.Linear(widths[i], widths[i + 1], bias=biases[i]))
            if i < len(self._norms):
                attach(self, self._norms[i], nn.BatchNorm1d(widths[i + 1]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, ...) to logits (batch, classes)."""
        x = x.flatten(1)
        last = len(self._linears) - 1
        for i, name in enumerate(self._linears):
            x = self.get_submodule(name)(x)
            if i < last:
                if self._norms:
                    x = self.get_submodule(self._norms[i])(x)
                x = self._activation(x)
        return x

    @classmethod
    def from_state(cls, state: StateDict, input_shape: Shape | None) -> dict[str, Any] | None:
        """Read a chain of matrices, with or without biases and BatchNorm vectors."""
        shapes = shapes_of(state)
        norms = [key.rpartition(".")[0] for key in state if key.endswith(".running_mean")]
        taken = {f"{name}.{part}" for name in norms for part in (*_STATISTICS, "num_batches_tracked")}
        matrices = [key.removesuffix(".weight") for key, shape in shapes.items() if len(shape) == 2]
        if not matrices or any(f"{name}.weight" not in state for name in matrices):
            return None
        taken |= {f"{name}.{part}" for name in matrices for part in ("weight", "bias")}
        order = _chain(matrices, shapes)
        if order is None or not set(state) <= taken:
            return None
        widths = (shapes[f"{order[0]}.weight"][1], *(shapes[f"{name}.weight"][0] for name in order))
        norms = sorted(norms, key=natural)
        if norms and [shapes[f"{name}.running_mean"] for name in norms] != [(width,) for width in widths[1:-1]]:
            return None
        biases = tuple(f"{name}.bias" in state for name in order)
        found = {"widths": widths, "bias": biases, "names": order}
        return found | ({"norm": "batch", "norms": tuple(norms)} if norms else {"norm": "none"})

    @classmethod
    def from_data(cls, input_shape: Shape, num_classes: int) -> dict[str, Any]:
        """Put two hidden layers of 64 between the dataset's sizes."""
        return {"inputs": flat_size(input_shape), "classes": num_classes}

    def describe(self) -> str:
        """Return ``mlp 784-400-200-100-10, no biases``."""
        bias = self.options["bias"]
        kind = "" if bias is True else ", no biases" if bias is False else ", biases in some layers"
        return f"mlp {dashed(self.options['widths'])}{kind}{', batch norm' if self._norms else ''}"

    def takes(self, shape: Shape) -> bool:
        """Any shape with the right number of entries: the input is flattened."""
        return flat_size(shape) == self.input_shape[0]


def _widths(
    widths: tuple[int, ...], width: int | None, depth: int | None, inputs: int | None, classes: int | None
) -> tuple[int, ...]:
    if len(widths) < 2:
        raise UsageError(f"mlp: widths={widths} needs at least inputs and outputs, such as widths=784,64,10.")
    hidden = widths[1:-1]
    if width is not None or depth is not None:
        hidden = (64 if width is None else width,) * (len(hidden) if depth is None else depth)
    widths = (inputs or widths[0], *hidden, classes or widths[-1])
    if any(not isinstance(size, int) or size < 1 for size in widths):
        raise UsageError(f"mlp: widths must be positive whole numbers, not {widths}.")
    return widths


def _names(option: str, names: Sequence[str] | None, count: int, stem: str) -> tuple[str, ...]:
    if names is None:
        return tuple(f"{stem}{i + 1}" for i in range(count))
    found = tuple(str(name) for name in as_tuple(names))
    if len(found) != count:
        raise UsageError(f"mlp: {count} layers are needed, but {option}={','.join(found)} names {len(found)}.")
    return found


def _chain(names: list[str], shapes: dict[str, Shape]) -> tuple[str, ...] | None:
    """Order the matrices so that each reads what the one before writes; None unless the order is certain."""
    orders = {tuple(names), tuple(sorted(names, key=natural))}
    fitting = [order for order in orders if _fits(order, shapes)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(order: tuple[str, ...], shapes: dict[str, Shape]) -> bool:
    sizes = [shapes[f"{name}.weight"] for name in order]
    return all(after[1] == before[0] for before, after in itertools.pairwise(sizes))
