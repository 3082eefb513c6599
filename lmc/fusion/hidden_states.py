"""What the units of several networks do on the same examples, kept as inner products: hidden states at every step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lmc.alignment.capture import Run, batches, dtype_of
from lmc.alignment.families import Family
from lmc.evaluation.inputs import network_inputs
from lmc.fusion.problem import Problem
from lmc.symmetry.export import export
from lmc.symmetry.sites import Site

Products = list[list[NDArray[np.float64]]]
"""Inner products between the units of networks i and m, shape (units of i, units of m), by i and m."""

_BATCH = 128


def hidden_states(problem: Problem, families: list[Family], examples: int | None) -> dict[str, Products]:
    """Run all networks on the same examples, once.

    Parameters
    ----------
    problem : Problem
        Networks with their modules, and data; widths may differ.
    families : list of Family
        Whose units are looked at; those that are matched together with others are left out.
    examples : int or None
        How many, the first of the data; all for None.

    Returns
    -------
    dict of str to Products
        Of every group that shows, sums over examples, steps and positions.
    """
    assert problem.data is not None
    alone = [family for family in families if family.alone]
    known = [size for size in (examples, problem.data.size) if size is not None]
    runs: dict[tuple[int, int], Run] = {}
    found: dict[str, Products] = {}
    for raw in batches(problem.data, min([_BATCH, *known]), examples):
        shown = []
        for number, (state, spec, module) in enumerate(
            zip(problem.states, problem.specs, problem.modules, strict=True)
        ):
            device = next(iter(state.values())).device
            inputs = network_inputs(raw, problem.data.normalization, device, dtype_of(state))
            key = (number, len(raw))
            if key not in runs:
                runs[key] = Run(spec, export(module, (inputs,)), "post")
            shown.append(runs[key].show(state, inputs))
        for family in alone:
            rows = [_rows(family, one) for one in shown]
            if rows[0] is not None:
                _add(found, family.name, [row for row in rows if row is not None])
    return found


def _rows(family: Family, shown: Mapping[Site, Tensor]) -> NDArray[np.float64] | None:
    """Return a row for each unit, over all places where the group shows; None where it shows nowhere."""
    parts = [
        family.rows(axes, tensor).double().cpu().numpy()
        for site, tensor in shown.items()
        if (axes := family.held(site.axes))
    ]
    return np.concatenate(parts, axis=1) if parts else None


def _add(found: dict[str, Products], name: str, rows: list[NDArray[np.float64]]) -> None:
    sums = found.setdefault(name, [[np.zeros((len(one), len(other))) for other in rows] for one in rows])
    for mine, one in zip(sums, rows, strict=True):
        for total, other in zip(mine, rows, strict=True):
            total += one @ other.T
