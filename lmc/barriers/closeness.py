"""Whether the activations of the interpolated network are the interpolated activations, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lmc._errors import ArchitectureError
from lmc.barriers.setting import Setting, Variables
from lmc.interpolation import AbstractPath

_POSITIONS = (0.0, 0.5, 1.0)


def activation_closeness(setting: Setting, path: AbstractPath) -> Variables:
    r"""Return, for each layer, how far the midpoint's activations are from the mean of the ends' activations.

    .. math:: c_\ell = \frac{\mathbb{E}_x \| h_\ell(x; \theta_{1/2}) - \bar h_\ell(x) \|^2}
                            {\mathbb{E}_x \| \bar h_\ell(x) \|^2}, \qquad
              \bar h_\ell(x) = \tfrac12 [h_\ell(x; \theta_0) + h_\ell(x; \theta_1)]

    Zero where the layers are connected linearly feature by feature: the property that Ferbach et al. prove layer by
    layer for wide networks, and that Zhou et al. observe (who measure the cosine). A layer is a module that holds
    parameters of its own, named as in the network; its output counts, each call of a module that is used twice.

    Parameters
    ----------
    setting : Setting
        Network and data; every example counts the same.
    path : AbstractPath
        Evaluated at 0, 1/2 and 1.

    Returns
    -------
    dict
        ``closeness``, dims (module,), zero or more; coordinate ``module``.

    Raises
    ------
    ArchitectureError
        If no module of the network holds parameters and gives tensors, or the activations vanish.

    References
    ----------
    .. [1] Ferbach et al. Proving Linear Mode Connectivity of Neural Networks via Optimal Transport. AISTATS 2024.
    .. [2] Zhou et al. Going Beyond Linear Mode Connectivity: The Layerwise Linear Feature Connectivity. NeurIPS 2023.
    """
    networks = setting.networks(path, _POSITIONS)
    records = [_recorded(network) for network in networks]
    apart: dict[str, float] = {}
    size: dict[str, float] = {}
    with torch.inference_mode():
        for inputs, _ in setting.batches(_POSITIONS):
            for network, record, x in zip(networks, records, inputs, strict=True):
                record.clear()
                network(x)
            for (name, first), (_, middle), (_, last) in zip(*records, strict=True):
                mean = (first.double() + last.double()) / 2
                apart[name] = apart.get(name, 0.0) + float((middle.double() - mean).square().sum())
                size[name] = size.get(name, 0.0) + float(mean.square().sum())
    if not size or min(size.values()) == 0:
        empty = [name for name, value in size.items() if value == 0]
        raise ArchitectureError(
            f"Closeness compares activations; {f'those of {empty[0]} are all zero' if empty else 'no layer gives any'}."
        )
    return {
        "module": (("module",), list(size)),
        "closeness": (("module",), [apart[name] / size[name] for name in size]),
    }


def _recorded(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Hook every module with parameters of its own; its outputs are appended to the list, in the order of calls."""
    record: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, (tuple, list)) and output:
                output = output[0]
            if isinstance(output, Tensor) and output.is_floating_point():
                record.append((name, output.clone()))  # an activation in place would write into it

        return hook

    for name, module in network.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(keep(name or "(network)"))
    return record
