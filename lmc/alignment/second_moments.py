"""Weights weighed by what they read: directions of the input that no example uses count for nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment.capture import batches
from lmc.datasets import AbstractData
from lmc.evaluation.inputs import network_inputs

_BATCH = 256
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weighed_inputs(state: StateDict, module: nn.Module, data: AbstractData, examples: int) -> dict[str, Tensor]:
    r"""Return a state dict whose matrices and kernels are multiplied by the second moments of their inputs.

    .. math:: W \mapsto W S, \qquad S = \frac{1}{n} \sum_x h(x) h(x)^\top

    so that the inner product of a row with another row :math:`v` is that of what the two compute,
    :math:`\langle w, v \rangle_S = \frac{1}{n} \sum_x (w \cdot h(x)) (v \cdot h(x))`. The channels of a convolution are
    weighed, positions counted as examples; grouped convolutions and recurrent layers stay as they are.

    Parameters
    ----------
    state : mapping of str to Tensor
        The network's weights; not modified.
    module : torch.nn.Module
        The network; left as it is.
    data : AbstractData
        Raw examples.
    examples : int
        How many of them are run, the first ones.

    Returns
    -------
    dict of str to Tensor
        All keys of ``state``, in its dtypes.

    Raises
    ------
    UsageError
        If the network has no linear or convolutional layer of its own.

    References
    ----------
    .. [1] Ferbach, Goujaud, Gidel, Dieuleveut. Proving Linear Mode Connectivity of Neural Networks via Optimal
       Transport. AISTATS 2024.
    """
    network = copy.deepcopy(module).eval()
    network.load_state_dict(dict(state))
    moments: dict[str, tuple[Tensor, int]] = {}
    layers = {
        name: part
        for name, part in network.named_modules()
        if isinstance(part, _LAYERS) and getattr(part, "groups", 1) == 1
    }
    if not layers:
        raise UsageError(f"weights?covariance=true: {type(module).__name__} has no linear or convolutional layer.")
    handles = [part.register_forward_pre_hook(_watch(moments, name)) for name, part in layers.items()]
    floating = next(tensor for tensor in state.values() if tensor.is_floating_point())
    with torch.no_grad():
        for raw in batches(data, _BATCH, examples):
            network(network_inputs(raw, data.normalization, floating.device, floating.dtype))
    for handle in handles:
        handle.remove()
    weighed = dict(state)
    for name, (total, count) in moments.items():
        key, moment = f"{name}.weight", total / count
        if key in state:
            product = torch.einsum("oi...,ij->oj...", state[key].to(torch.float64), moment)
            weighed[key] = product.to(state[key].dtype)
    return weighed


def _watch(moments: dict[str, tuple[Tensor, int]], name: str) -> Callable[[nn.Module, tuple], None]:
    def hook(part: nn.Module, given: tuple) -> None:
        x = given[0].to(torch.float64)
        rows = x.reshape(-1, x.shape[-1]) if isinstance(part, nn.Linear) else x.movedim(1, -1).reshape(-1, x.shape[1])
        total, count = moments.get(name, (0.0, 0))
        moments[name] = (total + rows.T @ rows, count + len(rows))

    return hook
