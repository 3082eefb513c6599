"""Fisher-weighted averaging: every parameter weighs as much as its network's answers depend on it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lmc._errors import MismatchError, UsageError
from lmc._types import StateDict
from lmc.alignment.base import Needs
from lmc.datasets import Data
from lmc.evaluation.engine import load_copy
from lmc.evaluation.losses import outputs_tensor
from lmc.fusion.base import AbstractFusion
from lmc.fusion.problem import Problem
from lmc.fusion.result import FusionResult
from lmc.fusion.settings import check_choice, check_examples, check_range, held, network_batches, place_of, reference_of
from lmc.fusion.states import combined, weighted_sum

TARGETS = ("auto", "sampled", "expected", "data")
_FEW = 32  # classes, up to which all of them are looked at
_GRADIENTS = 2**22
"""Numbers of per-example gradients held at a time: 16 MB."""
_BATCH = 500


@dataclass(frozen=True)
class FisherAverage(AbstractFusion):
    r"""Average parameters, weighted by the diagonal of each network's Fisher information.

    .. math:: \theta = \frac{\sum_i \lambda_i F_i \theta_i}{\sum_i \lambda_i F_i},
       \qquad F_i = \mathbb{E}_x \, \mathbb{E}_{y \sim p_i(y | x)} \bigl[ \nabla \log p_i(y | x) \bigr]^2

    The square is of single examples' gradients, never of a batch's mean. The mean maximises the product of the
    networks' posteriors, each approximated by a Gaussian with a diagonal covariance. Units are not matched: align first
    where the networks come from different initialisations.

    Parameters
    ----------
    examples : int, optional
        How many examples are looked at, the first of the data; None for all.
    targets : {"auto", "sampled", "expected", "data"}
        Whose gradients: of one class drawn from the network's own answer for each example (``sampled``), of all classes
        weighted by it (``expected``: the same without noise, as many times as long), or of the data's own labels
        (``data``, the empirical Fisher). ``auto`` expects up to 32 classes and samples otherwise.
    floor : float
        Least value of a Fisher entry: where no network depends on a parameter, the mean by shares is left.

    References
    ----------
    .. [1] Matena, Raffel. Merging Models with Fisher-Weighted Averaging. NeurIPS 2022.
    .. [2] Kunstner, Balles, Hennig. Limitations of the Empirical Fisher Approximation. NeurIPS 2019.
    """

    examples: int | None = 1000
    targets: Literal["auto", "sampled", "expected", "data"] = "auto"
    floor: float = 1e-6

    citation: ClassVar[str] = (
        "@inproceedings{matena2022merging,\n"
        "  title = {Merging Models with Fisher-Weighted Averaging},\n"
        "  author = {Matena, Michael S. and Raffel, Colin A.},\n"
        "  booktitle = {Advances in Neural Information Processing Systems},\n"
        "  year = {2022}\n"
        "}"
    )

    def __post_init__(self) -> None:
        check_examples("fisher", self.examples)
        check_choice("targets of the Fisher information", self.targets, TARGETS)
        check_range("fisher", "floor", self.floor, 1e-300)

    @property
    def needs(self) -> Needs:
        """Examples, and the network."""
        return "data"

    @property
    def reference(self) -> str:
        """How to ask for it again."""
        return reference_of("fisher", self)

    def fuse(self, problem: Problem) -> FusionResult:
        """Average the networks of a problem, each parameter weighted."""
        start = time.perf_counter()
        assert problem.data is not None and problem.module is not None
        data = held(problem.data, self.examples)
        if self.targets == "expected" and data.task != "classification":
            raise UsageError(f"fisher: targets=expected sums over classes, the data are {data.task}: use sampled.")
        information = [self.information(problem, state, data) for state in problem.states]
        measured = time.perf_counter()
        floored = total = 0

        def rule(name: str, values: list[Tensor]) -> Tensor:
            nonlocal floored, total
            if name not in information[0]:
                return weighted_sum(values, problem.mix)
            weights = [one[name].to(values[0]).clamp(min=self.floor) for one in information]
            floored += sum(int((weight <= self.floor).sum()) for weight in weights)
            total += sum(weight.numel() for weight in weights)
            shares = [share * weight for share, weight in zip(problem.mix, weights, strict=True)]
            return weighted_sum([w * x for w, x in zip(shares, values, strict=True)], [1.0] * len(values)) / sum(shares)

        state = combined(problem.states, rule)
        return FusionResult(
            self.reference,
            state,
            problem.target,
            problem.mix,
            message=f"{data.size} examples; {100 * floored / max(total, 1):.0f}% of the entries at their floor",
            seconds={"information": measured - start, "average": time.perf_counter() - measured},
            seed=problem.seed,
            citation=self.citation,
        )

    def information(self, problem: Problem, state: StateDict, data: Data) -> dict[str, Tensor]:
        """Return the diagonal Fisher information of a network, float64, by names of the state; buffers have none."""
        assert problem.module is not None
        device, dtype = place_of(problem)
        network = load_copy(problem.module, state, device, dtype).eval()
        parameters = dict(network.named_parameters())
        inputs, _ = next(network_batches(data, 2, problem))
        plain = plain_layers(network, inputs)
        others = sum(one.numel() for name, one in parameters.items() if name not in names_of(plain))
        size = max(1, min(_BATCH, _GRADIENTS // max(1, others)))
        draw = torch.Generator(device).manual_seed(problem.seed)
        sums = {name: torch.zeros(one.shape, dtype=torch.float64, device=device) for name, one in parameters.items()}
        for inputs, labels in network_batches(data, size, problem):
            with torch.no_grad():
                outputs = outputs_tensor(network(inputs))
            for targets, weights in self._targets(outputs, labels, data.task, draw):
                for name, squares in squared_gradients(network, inputs, targets, weights, data.task, plain).items():
                    sums[name] += squares
        known = {id(one): name for name, one in parameters.items()}
        names = {name: known[id(one)] for name, one in network.named_parameters(remove_duplicate=False)}
        return {name: sums[first] / data.size for name, first in names.items()}

    def _targets(
        self, outputs: Tensor, labels: Tensor, task: str, draw: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield targets of a batch, each with the weight of every example's squared gradient."""
        ones = outputs.new_ones(len(outputs))
        if self.targets == "data":
            yield labels, ones
        elif task == "regression":
            yield outputs + torch.randn(outputs.shape, generator=draw, device=outputs.device, dtype=outputs.dtype), ones
        elif self.targets == "expected" or (self.targets == "auto" and outputs.dim() == 2 and outputs.shape[1] <= _FEW):
            for index, weight in enumerate(outputs.softmax(-1).T):
                yield torch.full_like(labels, index), weight
        else:
            flat = outputs.softmax(-1).flatten(0, -2)
            yield torch.multinomial(flat, 1, generator=draw).reshape(outputs.shape[:-1]), ones


def plain_layers(network: nn.Module, inputs: Tensor) -> dict[str, nn.Linear]:
    """Return the linear layers that read one row for each example, once, and share no parameter, by name.

    Of those the squares of all examples' gradients are one product of matrices.
    """
    shapes: dict[str, list[int]] = {}
    handles = []
    for name, layer in network.named_modules():
        if type(layer) is nn.Linear:
            seen = shapes.setdefault(name, [])
            handles.append(layer.register_forward_hook(lambda _, given, out, seen=seen: seen.append(given[0].dim())))
    with torch.no_grad():
        network(inputs)
    for handle in handles:
        handle.remove()
    uses = Counter(id(one) for _, one in network.named_parameters(remove_duplicate=False))
    layers = {name: network.get_submodule(name) for name, seen in shapes.items() if seen == [2]}
    found: dict[str, nn.Linear] = {}
    for name, layer in layers.items():
        own = {key for key, _ in layer.named_parameters()} <= {"weight", "bias"}
        if own and isinstance(layer, nn.Linear) and all(uses[id(one)] == 1 for one in layer.parameters()):
            found[name] = layer
    return found


def names_of(layers: Mapping[str, nn.Linear]) -> set[str]:
    """Return the names of the parameters of layers."""
    return {f"{name}.{key}".lstrip(".") for name, layer in layers.items() for key, _ in layer.named_parameters()}


def squared_gradients(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    task: str,
    plain: Mapping[str, nn.Linear] | None = None,
) -> dict[str, Tensor]:
    """Return the sum over examples of the weighted squares of each one's own gradient, in float64.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    inputs, targets : Tensor, shape (examples, ...)
        Of a batch.
    weights : Tensor, shape (examples,)
        Of the squares.
    task : str
        Whose log-likelihood: of classes, of all tokens of a window together, of values with unit variance.
    plain : mapping of str to Linear, optional
        Layers of :func:`plain_layers`: the same numbers, faster.
    """
    squares = _of_layers(network, inputs, targets, weights, task, plain) if plain else {}
    parameters = {name: one.detach() for name, one in network.named_parameters()}
    fixed = {name: parameters.pop(name) for name in names_of(plain or {})} | dict(network.named_buffers())

    def loss(values: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = outputs_tensor(functional_call(network, ({**values}, fixed), (x[None],)))[0]
        return _negative_log_likelihood(outputs, y, task)

    if parameters:
        found = _per_example(grad(loss), parameters, inputs, targets)
        squares |= {name: _weighted(one.square(), weights).sum(0, dtype=torch.float64) for name, one in found.items()}
    broken = [name for name, one in squares.items() if not bool(torch.isfinite(one).all())]
    if broken:
        raise MismatchError(f"Gradients are NaN or infinite in {', '.join(broken[:4])}: check weights and data.")
    return squares


def _of_layers(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    task: str,
    layers: Mapping[str, nn.Linear],
) -> dict[str, Tensor]:
    """Return squares of the gradients of plain layers: what they read and what comes back, squared and multiplied."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda _, given, out: seen.update({name: (given[0].detach(), out)})

    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    try:
        outputs = outputs_tensor(network(inputs))
    finally:
        for handle in handles:
            handle.remove()
        for layer in layers.values():
            layer.weight.requires_grad_(False)
    total = _negative_log_likelihood(outputs, targets, task)  # of independent examples: each gets its own gradient
    back = torch.autograd.grad(total, [out for _, out in seen.values()])
    found = {}
    for (name, (read, _)), given in zip(seen.items(), back, strict=True):
        answered = _weighted(given.double().square(), weights)
        found[f"{name}.weight".lstrip(".")] = answered.T @ read.double().square()
        if layers[name].bias is not None:
            found[f"{name}.bias".lstrip(".")] = answered.sum(0)
    return found


def _weighted(squares: Tensor, weights: Tensor) -> Tensor:
    return squares * weights.to(squares).reshape(-1, *[1] * (squares.dim() - 1))


def _negative_log_likelihood(outputs: Tensor, target: Tensor, task: str) -> Tensor:
    if task == "regression":
        return 0.5 * (outputs.flatten() - target.flatten()).square().sum()
    return -outputs.log_softmax(-1).gather(-1, target.long()[..., None]).sum()


def _per_example(
    gradient: Callable[..., Any], parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Return gradients of single examples, shape (examples, ...): together, one by one where an op refuses that."""
    try:
        return vmap(gradient, in_dims=(None, 0, 0))(parameters, inputs, targets)
    except (RuntimeError, NotImplementedError):
        single = [gradient(parameters, x, y) for x, y in zip(inputs, targets, strict=True)]
        return {name: torch.stack([one[name] for one in single]) for name in parameters}
