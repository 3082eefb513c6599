"""Results whose every text is an attack: on the page, on the figures, on the console."""

from __future__ import annotations

import xarray as xr

MARK = (
    '<script>alert("x")</script><img src=x onerror=alert(1)>"\' onload=alert() $\\frac{$ ]]> \x00\x1b[31m \u202e 漢字'
)


def hostile(dataset: xr.Dataset) -> xr.Dataset:
    """Put the mark into everything that whoever wrote a file may choose: labels, attributes, names of variables."""
    changed = dataset.copy(deep=True)
    for name in ("alignment", "mode", "other", "model"):
        if name in changed.coords:
            changed = changed.assign_coords({name: [f"{i}{MARK}" for i in range(changed.sizes[name])]})
            changed[name].attrs = dict(dataset[name].attrs)
    for name in ("a_source", "b_source", "model", "data_name", "data", "command", "plane", "citation", MARK):
        changed.attrs[name] = MARK
    for name in ("versions", "alignments", "citations"):
        changed.attrs[name] = f'{{"{"<script>"}": "<script>alert(3)</script>"}}'
    for variable in changed.variables.values():
        variable.attrs["long_name"] = f"{variable.attrs.get('long_name', '')} {MARK}"
    return changed
