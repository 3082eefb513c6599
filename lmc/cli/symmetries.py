"""``lmc symmetries MODEL|CKPT``: which units of a network may change places, found and proved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from lmc._errors import SymmetryError
from lmc.cli.common import Common, check_writable

if TYPE_CHECKING:
    from lmc.architectures import Architecture
    from lmc.symmetry import PermutationGroup, PermutationSpec, Verification

_SHOWN = 24
"""Groups listed, and tensors named for each reason: enough for a page; --json has all."""


def symmetries(
    network: str,
    /,
    *,
    model: str | None = None,
    spec: Path | None = None,
    write_spec: Path | None = None,
    verify: Annotated[bool, Parameter(negative="--no-verify")] = True,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Show the permutation symmetries of a network: its groups, what is frozen and why, how much of it moves.

    For example:

        lmc symmetries mlp
        lmc symmetries a.pt --json
        lmc symmetries nets.py:UNet --input-shape 3,64,64
        lmc symmetries a.pt --model nets.py:Odd --write-spec spec.toml

    Parameters
    ----------
    network
        A checkpoint whose network is recognised, or a network: a name (mlp, lenet, resnet20, vit, gpt, ...),
        file.py:Class or package.module:factory, with options as ?width=4&depth=3.
    model
        Network of the checkpoint, as in lmc barrier.
    spec
        TOML file of permutation groups that corrects what is found, or stands for it.
    write_spec
        Write the groups as TOML; a form to fill in where the network cannot be traced.
    verify
        Prove the groups on redrawn weights.
    """
    from lmc import pipeline
    from lmc.symmetry import verify as prove
    from lmc.symmetry import write_form
    from lmc.symmetry import write_spec as write

    common.start()
    if write_spec is not None:
        check_writable(write_spec, ".toml")
    architecture = _architecture(network, model, common)
    common.note("network", "\n".join([architecture.name, *architecture.assumptions]))
    inputs = architecture.example_inputs(seed=common.seed)
    try:
        found = pipeline.found_or_written(architecture.module, inputs, spec)
    except SymmetryError as error:
        if write_spec is None:
            raise
        raise SymmetryError(f"{error}\n{write_form(write_spec, architecture.module)} is a form to fill in.") from error
    verdict = prove(found, architecture.module, inputs, seed=common.seed) if verify else None
    if write_spec is not None:
        write(write_spec, found)
    if common.json:
        print(json.dumps(_table(architecture, found, verdict)))
    else:
        print("\n".join(_lines(found, verdict)))
        if write_spec is not None:
            print(f"wrote {write_spec}")
    if verdict is not None and not verdict.ok:
        raise SymmetryError(f"The symmetries of {architecture.name} are not proved: {verdict.message}.")


def _architecture(network: str, model: str | None, common: Common) -> Architecture:
    from lmc.architectures import resolve

    if Path(network).exists():
        return resolve(model, common.open(network), input_shape=common.shape)
    return resolve(network, input_shape=common.shape, seed=common.seed)


def _table(architecture: Architecture, spec: PermutationSpec, verdict: Verification | None) -> dict[str, Any]:
    """Return everything in plain values."""
    groups = [
        {
            "name": group.name,
            "kind": group.kind,
            "size": group.size,
            "blocks": group.blocks,
            "over": [{"group": name, "size": size} for name, size in group.over],
            "axes": [{"param": a.param, "dim": a.dim, "whole": a.positions is None} for a in group.axes],
        }
        for group in spec.groups
    ]
    found: dict[str, Any] = {
        "network": architecture.name,
        "reference": architecture.reference,
        "assumptions": list(architecture.assumptions),
        "groups": groups,
        "units": spec.units,
        "log10_permutations": spec.log10_size,
        "parameters_moved": spec.coverage,
        "frozen": [{"param": name, "dim": dim, "reason": why} for (name, dim), why in spec.frozen.items()],
    }
    if verdict is not None:
        found["verification"] = {
            "ok": verdict.ok,
            "message": verdict.message,
            "error": verdict.error,
            "control": verdict.control if spec.groups else None,
            "inert": list(verdict.inert),
            "guilty": list(verdict.guilty),
            "seconds": verdict.seconds,
        }
    return found


def _lines(spec: PermutationSpec, verdict: Verification | None) -> Iterator[str]:
    shown = spec.groups[:_SHOWN]
    names = {group.name: _short(group.name) for group in shown}
    width = max([5, *map(len, names.values())])
    if shown:
        yield f"\n{'group':<{width}}  {'kind':<18}  {'units':>12}  axes"
    for group in shown:
        yield f"{names[group.name]:<{width}}  {group.kind:<18}  {_units(group):>12}  {_some(map(str, group.axes), 4)}"
    if len(spec.groups) > len(shown):
        yield f"and {len(spec.groups) - len(shown)} more groups: --json lists them all"
    yield ""
    yield f"{'total':<10}{len(spec.groups)} groups, {spec.units:,} units, 10^{spec.log10_size:,.0f} permutations"
    yield f"{'moved':<10}{spec.coverage:.1%} of the parameters lie on an axis that some group permutes"
    yield from _frozen(spec)
    if verdict is not None:
        if verdict.inert:
            yield f"{'no effect':<10}alone: {_some(dict.fromkeys(verdict.inert), 6)}"
        said = "verified" if verdict.ok else "NOT verified"
        control = f"; one axis left behind: {verdict.control:.0e} or more" if verdict.ok and spec.groups else ""
        yield f"{'proof':<10}{said}: {verdict.message}{control}"


def _frozen(spec: PermutationSpec) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for (name, dim), why in spec.frozen.items():
        reasons.setdefault(why, []).append(f"{name}[{dim}]")
    for number, (why, places) in enumerate(reasons.items()):
        yield f"{'frozen' if not number else '':<10}{why}: {_some(places, 3)}"


def _units(group: PermutationGroup) -> str:
    return f"{group.blocks} x {group.size}" if group.over else str(group.size)


def _some(names: Any, count: int) -> str:
    listed = list(names)
    more = f", and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def _short(name: str, length: int = 44) -> str:
    return name if len(name) <= length else f"...{name[3 - length :]}"
