"""What each op does to axes, one family of ops a file; an op that stands in none of them freezes what it touches."""

from __future__ import annotations

from collections.abc import Mapping

from lmc.symmetry.rules import (
    attention,
    contraction,
    convolution,
    creation,
    elementwise,
    embedding,
    joining,
    normalization,
    parametrization,
    pooling,
    recurrence,
    reduction,
    reshaping,
    selection,
)
from lmc.symmetry.walk import Rule

FAMILIES = (
    attention,
    contraction,
    convolution,
    creation,
    elementwise,
    embedding,
    joining,
    normalization,
    parametrization,
    pooling,
    recurrence,
    reduction,
    reshaping,
    selection,
)

RULES: Mapping[str, Rule] = {name: rule for family in FAMILIES for name, rule in family.RULES.items()}
"""Op name (``aten.linear``) to rule; an in-place op uses the rule of its plain twin."""
