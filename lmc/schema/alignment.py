"""Kind ``alignment``: where every unit of B was put."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.variable import Variable

ALIGNMENT: Mapping[str, Variable] = {
    "group": Variable(("unit",), "permutation group of the unit", "1"),
    "block": Variable(("unit",), "block of the group: the head, say, that the unit lies in", "1"),
    "place": Variable(("unit",), "place of the unit in its block", "1"),
    "source": Variable(("unit",), "unit of B that is put there", "1"),
    "similarity_before": Variable(("unit",), "cosine of A's and B's unit, B as it was", "1"),
    "similarity_after": Variable(("unit",), "cosine of A's and B's unit, B aligned", "1"),
    "correlation_before": Variable(("unit",), "correlation of A's and B's unit, B as it was", "1", required=False),
    "correlation_after": Variable(("unit",), "correlation of A's and B's unit, B aligned", "1", required=False),
    "final_objective": Variable((), "objective of the alignment", "1"),
    "rounding_loss": Variable((), "objective lost by rounding the plan to a permutation", "1"),
    "trace": Variable(("step",), "objective after each step", "1"),
    "restart_objective": Variable(("restart",), "objective of each restart", "1"),
    "phase": Variable(("phase",), "part of the work", "1"),
    "seconds": Variable(("phase",), "time spent", "s"),
    "plan_place": Variable(("entry",), "index of the unit of A, through all groups", "1", required=False),
    "plan_unit": Variable(("entry",), "index of the unit of B, through all groups", "1", required=False),
    "plan_mass": Variable(("entry",), "mass of the plan between the two", "1", required=False),
    "plan_kept": Variable(("unit",), "share of the unit's mass that the permutation keeps", "1", required=False),
    "plan_partners": Variable(("unit",), "effective number of units of B that share the place", "1", required=False),
}
