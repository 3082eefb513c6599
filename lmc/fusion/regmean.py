"""RegMean: every linear layer is the least-squares fit to what the layers it replaces answered on their own inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc._types import StateDict
from lmc.alignment.base import Needs
from lmc.datasets import Data
from lmc.evaluation.engine import load_copy
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_examples, check_range, held, network_batches, place_of, reference_of
from lmc.fusion.states import combined, weighted_sum

_BATCH = 256


@dataclass(frozen=True)
class RegMean(AbstractFusion):
    r"""Fit every linear and convolutional layer to the networks' own, on their own inputs.

    .. math:: \min_W \sum_i \lambda_i \, \bigl\| X_i W^\top - X_i W_i^\top \bigr\|^2,
       \qquad W^\top = \Bigl( \sum_i \lambda_i G_i \Bigr)^{-1} \sum_i \lambda_i G_i W_i^\top, \quad G_i = X_i^\top X_i

    A row of :math:`X_i` is what the layer reads in network i, for an example or a position, a patch for a convolution;
    a bias is one more input that is always 1. What is no such layer is averaged. Units are not matched: align first
    where the networks come from different initialisations.

    Parameters
    ----------
    shrink : float, in [0, 1]
        Factor on the entries of :math:`G_i` off its diagonal; 1 is least squares itself, 0 weights inputs one by one.
        The paper's 0.9 forgives what the layers before have become.
    examples : int, optional
        How many examples are looked at, the first of the data; None for all.
    ridge : float
        Pull towards the mean by shares, relative to the mean of the diagonal: what decides for inputs that never vary.

    References
    ----------
    .. [1] Jin, Ren, Preotiuc-Pietro, Cheng. Dataless Knowledge Fusion by Merging Weights of Language Models. ICLR 2023.
    """

    shrink: float = 0.9
    examples: int | None = 1000
    ridge: float = 1e-8

    citation: ClassVar[str] = (
        "@inproceedings{jin2023dataless,\n"
        "  title = {Dataless Knowledge Fusion by Merging Weights of Language Models},\n"
        "  author = {Jin, Xisen and Ren, Xiang and Preotiuc-Pietro, Daniel and Cheng, Pengxiang},\n"
        "  booktitle = {International Conference on Learning Representations},\n"
        "  year = {2023}\n"
        "}"
    )

    def __post_init__(self) -> None:
        check_examples("regmean", self.examples)
        check_range("regmean", "shrink", self.shrink, 0, 1)
        check_range("regmean", "ridge", self.ridge, 1e-300)

    @property
    def needs(self) -> Needs:
        """Examples, and the network."""
        return "data"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("regmean", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Fit the layers of a problem's networks."""
        start = time.perf_counter()
        assert problem.data is not None
        data = held(problem.data, self.examples)
        seen = [grams(problem, state, data) for state in problem.states]
        measured = time.perf_counter()
        layers = [name for name in seen[0] if all(name in one for one in seen)]
        solved: dict[str, Tensor] = {}
        for name in layers:
            solved |= self._layer(problem, name, [one[name] for one in seen])
        state = combined(problem.states, lambda name, values: _chosen(solved, name, values, problem.mix))
        matrices = [name for name, value in state.items() if value.is_floating_point() and value.dim() > 1]
        left = [name for name in matrices if name not in solved]
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            message=f"{len(layers)} layers fitted on {data.size} examples",
            warnings=(f"averaged, not fitted: {', '.join(left[:4])}",) if left else (),
            seconds={"inputs": measured - start, "fit": time.perf_counter() - measured},
            seed=problem.seed,
            citation=self.citation,
        )

    def _layer(self, problem: Problem, name: str, gram: list[Tensor]) -> dict[str, Tensor]:
        """Return the weight of a layer, and its bias where there is one, in float64."""
        prefix = f"{name}." if name else ""
        bias = f"{prefix}bias" if f"{prefix}bias" in problem.states[0] else None
        rows = []
        for state in problem.states:
            weight = state[f"{prefix}weight"].double().flatten(1)
            rows.append(weight if bias is None else torch.cat([weight, state[bias].double()[:, None]], 1))
        fitted = regression_mean(rows, gram, problem.mix, self.shrink, self.ridge)
        found = {f"{prefix}weight": fitted if bias is None else fitted[:, :-1]}
        return found if bias is None else {**found, bias: fitted[:, -1]}


def _chosen(solved: Mapping[str, Tensor], name: str, values: list[Tensor], mix: tuple[float, ...]) -> Tensor:
    return solved[name].reshape(values[0].shape) if name in solved else weighted_sum(values, mix)


def regression_mean(
    rows: list[Tensor], gram: list[Tensor], mix: tuple[float, ...], shrink: float = 1.0, ridge: float = 1e-8
) -> Tensor:
    """Return the matrix that answers most like several, each on its own inputs.

    Parameters
    ----------
    rows : list of Tensor, shape (outputs, inputs)
        The matrices, float64.
    gram : list of Tensor, shape (inputs, inputs)
        Second moments of the inputs of each.
    mix : tuple of float
        Shares.
    shrink, ridge : float
        As in :class:`RegMean`.
    """
    eye = torch.eye(len(gram[0]), dtype=torch.float64, device=gram[0].device)
    scale = sum(float(one.diagonal().mean()) for one in gram) / len(gram) or 1.0
    total, right = torch.zeros_like(eye), torch.zeros_like(rows[0].T)
    for weight, one, share in zip(rows, gram, mix, strict=True):
        shrunk = shrink * one + (1 - shrink) * torch.diag(one.diagonal()) + ridge * scale * eye
        total += share * shrunk
        right += share * shrunk @ weight.T
    return torch.linalg.solve(total, right).T


def grams(problem: Problem, state: StateDict, data: Data) -> dict[str, Tensor]:
    """Return the second moments of what every linear and convolutional layer of a network reads, float64, by layer.

    The mean over rows, so that networks weigh by their shares alone. Layers that are used several times see all rows; a
    convolution in groups is left out, and so is what never runs as a module.
    """
    assert problem.module is not None
    device, dtype = place_of(problem)
    network = load_copy(problem.module, state, device, dtype).eval()
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str, layer: nn.Module) -> Callable[..., None]:
        def add(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            read = rows_of(layer, inputs[0]).double()
            if getattr(layer, "bias", None) is not None:
                read = torch.cat([read, read.new_ones(len(read), 1)], 1)
            sums[name] = sums.get(name, torch.zeros((), device=device)) + read.T @ read
            counts[name] = counts.get(name, 0) + len(read)

        return add

    for name, layer in network.named_modules():
        held_plain = f"{name}.weight".lstrip(".") in state  # a parametrised weight is made anew from others
        if held_plain and (isinstance(layer, nn.Linear) or _is_convolution(layer)):
            layer.register_forward_pre_hook(watch(name, layer))
    with torch.no_grad():
        for inputs, _ in network_batches(data, _BATCH, problem):
            network(inputs)
    return {name: total / counts[name] for name, total in sums.items()}


def _is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Conv1d, nn.Conv2d)) and layer.groups == 1


def rows_of(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a layer reads, a row for each of its answers: shape (rows, inputs), a patch for a convolution."""
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return inputs.reshape(-1, inputs.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    flat = isinstance(layer, nn.Conv1d)
    lead = (1,) if flat else ()
    patches = F.unfold(
        padded[:, :, None] if flat else padded,
        (*lead, *layer.kernel_size),
        dilation=(*lead, *layer.dilation),
        stride=(*lead, *layer.stride),
    )
    return patches.transpose(1, 2).flatten(0, 1)
