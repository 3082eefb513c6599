"""Which rules could go without a test noticing? Takes every rule away in turn and looks whether any case changes.

python -m symmetry.mutate        from tests/; names the survivors, and leaves with 1 if there are any
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from symmetry.networks import CASES, Case
from symmetry.ops import OPS
from torch import nn

from lmc.symmetry import find
from lmc.symmetry.export import Exported, export
from lmc.symmetry.rules import RULES
from lmc.symmetry.walk import Rule, op_name


def survivors() -> list[str]:
    """Return the rules without which every case still is as its test wants it."""
    cases = {name: (case.build().eval(), case.inputs()) for name, case in {**CASES, **OPS}.items()}
    graphs = {name: (model, export(model, inputs)) for name, (model, inputs) in cases.items()}
    used = {name: set(_ops(exported)) for name, (_, exported) in graphs.items()}
    return [
        rule
        for rule in RULES
        if not any(
            not _as_expected(case, *graphs[name], {k: v for k, v in RULES.items() if k != rule})
            for name, case in {**CASES, **OPS}.items()
            if rule in used[name]
        )
    ]


def _as_expected(case: Case, model: nn.Module, exported: Exported, rules: Mapping[str, Rule]) -> bool:
    spec = find.spec_of(model, exported, *find.trace(exported, rules))
    same = sorted(group.size for group in spec.groups) == sorted(case.sizes)
    return same and any(case.why in why for why in spec.frozen.values())


def _ops(exported: Exported) -> Iterator[str]:
    for module in exported.graph_module.modules():
        for node in getattr(module, "graph", exported.graph_module.graph).nodes:
            if node.op == "call_function":
                name = op_name(node.target)
                yield name if name in RULES else name.removesuffix("_")


if __name__ == "__main__":
    found = survivors()
    print(f"{len(RULES) - len(found)} of {len(RULES)} rules are missed when they are gone", *found, sep="\n")
    sys.exit(bool(found))
