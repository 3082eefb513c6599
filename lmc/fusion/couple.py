"""Couplings between the units of the fused network and those of one network: every unit weighs the same."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lmc.alignment.assignment import assign
from lmc.fusion.log_transport import entropic_plan

Solver = Literal["emd", "sinkhorn"]

_EMD_ITERATIONS = 10_000_000


@dataclass(frozen=True)
class Couple:
    """How plans are found.

    Parameters
    ----------
    solver : {"emd", "sinkhorn"}
        Exact, or entropic in the log domain.
    reg : float
        Weight of the entropy, in units of the cost (sinkhorn).
    """

    solver: Solver = "emd"
    reg: float = 0.0

    def plan(self, cost: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
        """Return the plan of least cost, shape (target units, units), mass one, and what has to be said of it."""
        places, units = cost.shape
        if self.solver == "emd" and places == units:
            # With as many units as places some permutation is optimal (Birkhoff): an assignment finds it faster.
            return np.eye(units)[assign(-cost)] / units, ""
        return self._transport(np.ascontiguousarray(cost))

    def _transport(self, cost: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
        if self.solver == "sinkhorn":
            plan, converged = entropic_plan(cost, self.reg)
            return plan, "" if converged else "sinkhorn did not converge"
        import ot

        mu, nu = (np.full(size, 1 / size) for size in cost.shape)
        scale = float(cost.mean()) or 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the log says the same
            plan, log = ot.emd(mu, nu, cost / scale, numItermax=_EMD_ITERATIONS, log=True)
        return np.asarray(plan), "" if log["result_code"] == 1 else f"emd: {log['warning']}"

    def penalty(self, plan: NDArray[np.float64]) -> float:
        """Return what the entropy adds to the cost of a plan."""
        if self.solver == "emd":
            return 0.0
        return self.reg * float((plan * np.log(np.maximum(plan, 1e-300))).sum())
