"""The fused state dict, read out of couplings once they are found; what the widths alone do to the logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from lmc.alignment.coupling import Coupling
from lmc.alignment.transport import transport
from lmc.fusion.problem import Problem
from lmc.fusion.states import weighted_mean
from lmc.interpolation.batchnorm import batchnorm_layers, reset_batchnorm
from lmc.symmetry.sites import Roles

Normalize = Literal["function", "mean-field"]


def read_out(
    problem: Problem, couplings: Sequence[Mapping[str, Coupling]], roles: Roles, normalize: Normalize = "function"
) -> dict[str, Tensor]:
    r"""Average networks, each carried to the target's places along its couplings.

    .. math:: W_l = \sum_i \lambda_i (k_l \pi^i_l) W^i_l (k^i_{l-1} \pi^i_{l-1})^\top

    What was read of a unit is split among the places it went to, so that one network carried into more places computes
    what it did. With ``mean-field`` every place reads a mean, :math:`k_{l-1}` in place of :math:`k^i_{l-1}`: a ReLU
    network without biases is then scaled by the product of :math:`k_l / k^i_l`, and one with biases is another network.

    Parameters
    ----------
    problem : Problem
        Networks, target and shares.
    couplings : sequence of mapping of str to Coupling
        For each network, a plan for every group.
    roles : Roles
        Which axes make units.
    normalize : {"function", "mean-field"}
        How units are read.

    Returns
    -------
    dict of str to Tensor
        In the dtypes of the first network; names that share a tensor there share one.
    """
    moved = []
    for state, spec, found in zip(problem.states, problem.specs, couplings, strict=True):
        maps = {
            name: (one.makes(), one.reads() if normalize == "function" else one.makes()) for name, one in found.items()
        }
        moved.append(transport(state, spec, problem.target, maps, roles))
    mean = weighted_mean(moved, problem.mix)
    cast: dict[int, Tensor] = {}
    for name, tensor in mean.items():
        cast.setdefault(id(tensor), tensor.to(problem.states[0][name].dtype))
    return {name: cast[id(tensor)] for name, tensor in mean.items()}


def with_statistics(problem: Problem, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state with BatchNorm statistics measured on the problem's data, where it has both, and a note."""
    if problem.module is None or not batchnorm_layers(problem.module):
        return state, []
    if problem.data is None:
        return state, ["BatchNorm statistics averaged: give data to have them measured"]
    note = f"BatchNorm statistics measured on {problem.data.name} {problem.data.split}"
    return reset_batchnorm(problem.module, state, problem.data), [note]


def width_ratio(problem: Problem, normalize: Normalize) -> float:
    """Return the factor on the logits that the widths bring about, NaN where there is no one factor.

    Mean-field: the product over layers of the target's width over the network's; for networks without biases, of one
    width, in which no layer's output is added to another's.
    """
    if normalize == "function" or problem.one_width:
        return 1.0
    ratios = [
        math.prod(group.size / spec[group.name].size for group in problem.target.groups) for spec in problem.specs
    ]
    known = problem.target
    plain = all(len(shape) > 1 for name, shape in known.shapes.items() if name not in known.buffers)
    plain &= all(group.kind in ("units", "channels") for group in known.groups)
    return ratios[0] if plain and max(ratios) - min(ratios) <= 1e-12 * ratios[0] else float("nan")
