"""Matched networks against depth, before and after REPAIR, as in Jordan and others; by analyses/24_repair.py."""

from common import result, save

from lmc.plotting import plot_scaling

study = result("24_repair")
study["stage"].attrs = study["alignment"].attrs  # the lines of these figures
for norm, repair in {"batch": "BatchNorm reset", "none": "REPAIR"}.items():
    matched = study[["error_barrier"]].sel(norm=norm, alignment="weights").drop_vars("alignment")
    claims = study[[name for name in study.variables if {"claim"} <= set(study[name].dims)]]
    whole = claims.merge(matched.rename(stage="alignment")).assign_attrs(study.attrs)
    labels = {"before": f"weight matching (norm: {norm})", "after": f"weight matching, {repair}"}
    save(plot_scaling(whole, x="depth", variable="error_barrier", labels=labels).figure, f"24_repair_{norm}")
