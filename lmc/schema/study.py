"""Kind ``study``: what an analysis found, claim by claim, beside the measurements that the claims rest on."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.schema.barrier import BARRIER
from lmc.schema.variable import Variable

OUTCOMES = ("reproduced", "not reproduced", "undecided")

STUDY: Mapping[str, Variable] = {
    "claim": Variable(("claim",), "claim", "1"),
    "bound": BARRIER["bound"],
    "estimate": Variable(("claim",), "what was measured", "1"),
    "estimate_ci": Variable(("claim", "bound"), "95% interval of it", "1"),
    "claim_unit": Variable(("claim",), "units of the estimate", "1"),
    "literature": Variable(("claim",), "what the literature says", "1"),
    "outcome": Variable(("claim",), "reproduced, not reproduced or undecided", "1"),
    "width": Variable(("width",), "units of a hidden layer", "1", required=False),
    "depth": Variable(("depth",), "hidden layers", "1", required=False),
    "epoch": Variable(("epoch",), "epochs of training", "1", required=False),
    "lr": Variable(("lr",), "learning rate", "1", required=False),
    "seed": Variable(("seed",), "seed of a run", "1", required=False),
    "pair": Variable(("pair",), "pair of runs", "1", required=False),
    "alignment": Variable(("alignment",), "alignment of B to A", "1", required=False),
}
