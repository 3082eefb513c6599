"""An end of other widths: who takes it, and what it computes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc._errors import UsageError
from lmc._types import StateDict
from lmc.alignment import AbstractAlignment
from lmc.architectures import fit_state
from lmc.datasets import AbstractData
from lmc.evaluation import evaluate_path
from lmc.interpolation import LinearPath, batchnorm_layers, reset_batchnorm


def other_end(
    state: StateDict, model: nn.Module, methods: Mapping[str, AbstractAlignment]
) -> tuple[dict[str, Tensor], bool]:
    """Return B's weights as the network has them, and whether they are left in other shapes, for alignments that can.

    Raises
    ------
    MismatchError
        If they do not fit the network, and no alignment could help.
    UsageError
        If some alignment takes other widths and another one does not.
    """
    wanted = model.state_dict()
    unequal = [name for name, tensor in wanted.items() if name in state and state[name].shape != tensor.shape]
    able = [name for name, method in methods.items() if method.widths_may_differ]
    if not able or not unequal or set(state) != set(wanted):
        return fit_state(state, model, "state_b"), False
    if len(able) < len(methods):
        refused = next(name for name in methods if name not in able)
        name = unequal[0]
        raise UsageError(
            f"{name} is {tuple(wanted[name].shape)} in A and {tuple(state[name].shape)} in B: no line runs between "
            f"other shapes but along a plan. Leave out align={refused!r}, and keep {able[0]!r}."
        )
    return {name: state[name] for name in wanted}, True


def own_losses(module: nn.Module, data: AbstractData, settings: Mapping[str, Any]) -> NDArray[np.floating]:
    """Return the losses of B in its own network, shape (example,), measured as its end of a path is.

    Parameters
    ----------
    module : nn.Module
        B.
    data : AbstractData
        What paths are measured on.
    settings : mapping
        As of :func:`lmc.measure_barrier`: dtype, device, loss, constants, and training data for BatchNorm.
    """
    state: StateDict = module.state_dict()
    known = {name: settings[name] for name in ("device", "dtype") if name in settings}
    given = (settings.get(name) for name in ("recalibrate", "repair"))
    training = next((one for one in given if one is not None), None)
    if training is not None and batchnorm_layers(module):
        state = reset_batchnorm(module, state, training, **known)
    constants = settings.get("normalizations")
    constants = None if constants is None else (constants[1], constants[1])
    path, loss = LinearPath(state, state), settings.get("loss")
    return evaluate_path(module, path, [0.0], data, normalizations=constants, loss=loss, **known).example_loss[0]
