"""Sharpness of the ends: the largest eigenvalue of the loss's Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lmc._errors import ArchitectureError
from lmc.barriers.setting import Setting, Variables
from lmc.evaluation.losses import outputs_tensor, resolve_loss
from lmc.interpolation import AbstractPath

_EXAMPLES = 1000
_ITERATIONS = 100
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Sharpness:
    """The largest eigenvalue of a Hessian, and how it was found.

    Parameters
    ----------
    value : float
        In the loss's units (the parameters have none).
    converged : bool
        Whether the last step changed it by less than a thousandth.
    iterations : int
        Products of the Hessian with a vector.
    """

    value: float
    converged: bool
    iterations: int


def hessian_sharpness(
    setting: Setting, path: AbstractPath, t: float, *, examples: int = _EXAMPLES, seed: int = 0
) -> Sharpness:
    r"""Largest eigenvalue of the Hessian of the mean loss with respect to all parameters, at a position of a path.

    .. math:: \lambda_{\max}\bigl(\nabla^2_\theta \tfrac1n \sum_i L(x_i; \theta)\bigr)

    By power iteration with Hessian-vector products (Pearlmutter); where the eigenvalue of largest magnitude is
    negative, once more on the Hessian shifted by it. In eval mode; permutations leave it alone, other rescalings of
    the weights do not: compare ends of one architecture and one training recipe only.

    Parameters
    ----------
    setting : Setting
        Network, data and loss.
    path : AbstractPath
        Where the weights come from.
    t : float, in [0, 1]
        Position.
    examples : int
        The first so many examples of the data.
    seed : int
        Of the start vector.

    Returns
    -------
    Sharpness

    Raises
    ------
    ArchitectureError
        If the network cannot be differentiated twice.

    References
    ----------
    .. [1] Cohen et al. Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability. ICLR 2021.
    .. [2] Pearlmutter. Fast Exact Multiplication by the Hessian. Neural Computation 6(1), 1994.
    """
    (network,) = setting.networks(path, [t])
    batches = [(inputs[0], targets) for inputs, targets in setting.batches([t], examples)]
    loss = resolve_loss(setting.loss, setting.data.task)
    product = _hessian_product(network, batches, loss)
    size = sum(parameter.numel() for parameter in network.parameters())
    start = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = _power_iteration(product, start)
    if found.value >= 0:
        return found
    lowest = found.value
    shifted = _power_iteration(lambda v: product(v) - lowest * v, start)
    return Sharpness(shifted.value + lowest, found.converged and shifted.converged, shifted.iterations)


def sharpness(setting: Setting, path: AbstractPath) -> Variables:
    """Return the sharpness of both ends on the first 1,000 examples, see :func:`hessian_sharpness`.

    Parameters
    ----------
    setting : Setting
        Network, data and loss.
    path : AbstractPath
        Its ends.

    Returns
    -------
    dict
        ``sharpness``, and ``sharpness_converged``, dims (end,).
    """
    ends = [hessian_sharpness(setting, path, t) for t in (0.0, 1.0)]
    return {
        "sharpness": (("end",), [end.value for end in ends]),
        "sharpness_converged": (("end",), [end.converged for end in ends]),
    }


def _hessian_product(
    network: nn.Module, batches: list[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    parameters = [parameter.requires_grad_(True) for parameter in network.parameters() if parameter.is_floating_point()]
    count = sum(len(targets) for _, targets in batches)

    def product(vector: Tensor) -> Tensor:
        split = vector.split([p.numel() for p in parameters])
        parts = [v.view_as(p).to(p) for v, p in zip(split, parameters, strict=True)]
        total = torch.zeros_like(vector)
        for inputs, targets in batches:
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
                outputs = outputs_tensor(network(inputs))
                mean = loss(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), targets).sum() / count
                first = torch.autograd.grad(mean, parameters, create_graph=True, materialize_grads=True)
                slope = sum((g * v).sum() for g, v in zip(first, parts, strict=True))
                assert isinstance(slope, Tensor)
                # A loss that is linear in all parameters has no second derivative to follow.
                second = (
                    torch.autograd.grad(slope, parameters, materialize_grads=True) if slope.requires_grad else first
                )
            if slope.requires_grad:
                total += torch.cat([s.reshape(-1).to("cpu", torch.float64) for s in second])
        return total

    def guarded(vector: Tensor) -> Tensor:
        try:
            return product(vector)
        except RuntimeError as error:
            raise ArchitectureError(
                f"Sharpness needs second derivatives, which {type(network).__name__} does not give: {error}"
            ) from error

    return guarded


def _power_iteration(product: Callable[[Tensor], Tensor], start: Tensor) -> Sharpness:
    vector, value = start / start.norm(), 0.0
    for iteration in range(1, _ITERATIONS + 1):
        image = product(vector)
        before, value = value, float(vector @ image)
        length = float(image.norm())
        if length == 0:
            return Sharpness(0.0, True, iteration)
        if iteration > 1 and abs(value - before) <= _TOLERANCE * abs(value):
            return Sharpness(value, True, iteration)
        vector = image / length
    return Sharpness(value, False, _ITERATIONS)
