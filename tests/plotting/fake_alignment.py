"""A fake alignment of two groups, of blocks and of a plan, without torch."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lmc import schema

SOURCE = {"first": [1, 0, 2, 3], "heads": [[1, 0], [0, 1]]}


def fake_alignment(*, plan: bool = False, correlation: bool = False) -> xr.Dataset:
    """Make a valid dataset: four units of which two swap, and two blocks of two; a plan with a tenth of mass astray."""
    blocks = {name: np.atleast_2d(rows) for name, rows in SOURCE.items()}
    group = np.repeat(list(blocks), [rows.size for rows in blocks.values()])
    block = np.concatenate([np.repeat(np.arange(len(rows)), rows.shape[1]) for rows in blocks.values()])
    place = np.concatenate([np.tile(np.arange(rows.shape[1]), len(rows)) for rows in blocks.values()])
    source = np.concatenate([rows.ravel() for rows in blocks.values()])
    units = len(source)
    variables = {
        "source": ("unit", source),
        "similarity_before": ("unit", np.linspace(-0.1, 0.1, units)),
        "similarity_after": ("unit", np.linspace(0.2, 0.9, units)),
        "final_objective": ((), 3.0),
        "rounding_loss": ((), 0.25),
        "trace": ("step", [1.0, 3.0]),
        "restart_objective": ("restart", [3.0]),
        "seconds": ("phase", [0.1]),
    }
    if correlation:
        variables["correlation_before"] = ("unit", np.full(units, 0.1))
        variables["correlation_after"] = ("unit", [0.5, 0.6, 0.7, np.nan, np.nan, np.nan, np.nan, np.nan])
    if plan:
        # Of the first group only; the last unit is spread most.
        mass = np.zeros((4, 4))
        mass[np.arange(4), SOURCE["first"]] = [0.25, 0.225, 0.25, 0.125]
        mass[1, 2], mass[3, 0] = 0.025, 0.125
        rows, columns = mass.nonzero()
        variables |= {
            "plan_place": ("entry", rows),
            "plan_unit": ("entry", columns),
            "plan_mass": ("entry", mass[rows, columns]),
            "plan_kept": ("unit", [1.0, 0.9, 1.0, 0.5, *[np.nan] * 4]),
            "plan_partners": ("unit", [1.0, 1.4, 1.0, 2.0, *[np.nan] * 4]),
        }
    coords = {"group": ("unit", group), "block": ("unit", block), "place": ("unit", place), "phase": ["total"]}
    attrs = {"alignment": "weights", "message": "best of 1 restarts", "objective_name": "inner product", "seed": 0}
    return schema.annotate(xr.Dataset(variables, coords), "alignment", attrs)
