"""What one variable of a result must be, and the labels that all kinds share."""

from __future__ import annotations

from dataclasses import dataclass

BASELINES = ("chord", "mean")
"""``chord``: subtract (1-t)L(0)+tL(1) (Entezari); ``mean``: subtract the mean endpoint (Frankle, Git Re-Basin)."""

BOUNDS = ("lower", "upper")

ENDS = ("A", "B")

COMPARISONS = ("A and B", "A and midpoint", "midpoint and B")


@dataclass(frozen=True)
class Variable:
    """What one variable or coordinate of a result must be."""

    dims: tuple[str, ...]
    long_name: str
    units: str
    required: bool = True
