"""``lmc inspect FILE...``: what a checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmc._errors import ArchitectureError, CheckpointError, UsageError
from lmc.cli.common import Opening, Printing, unwrapping

if TYPE_CHECKING:
    from lmc.checkpoints import Checkpoint, Relation


def inspect(*files: Path, opening: Opening = Opening(), printing: Printing = Printing()) -> None:  # noqa: B008
    """Say what checkpoints are: source, tensors, the network they are recognised as, digest.

    One that no network can be run with (NaN, parts of a sharded run, adapters) is shown, named and ends with exit
    code 3, as one that cannot be read does.

    Of several, a table: which have the same layout, which are copies, and the cosine of their weights to the first of
    the same layout (near 1: the same run; near 0: an independent one).

    For example:

        lmc inspect a.pt
        lmc inspect runs/*.pt --json

    Parameters
    ----------
    files
        Checkpoints; one that cannot be read is named, and the others are still shown.
    """
    from lmc.checkpoints import check_usable, describe, relate

    if not files:
        raise UsageError("Which checkpoint? Usage: lmc inspect FILE...")
    loaded, refused = [], []
    for file in files:
        try:
            loaded.append(opening.open(file))
        except CheckpointError as error:
            refused.append(str(error))
    found: list[dict[str, Any]] = [{**describe(one), "recognised": _recognise(one)} for one in loaded]
    if len(files) > 1:
        relations = relate(loaded)
        for about, relation in zip(found, relations, strict=True):
            about |= _related(relation, loaded)
    if printing.json and found:
        print(json.dumps(found if len(files) > 1 else found[0], default=str))
    elif len(found) > 1:
        print(_table(found))
    elif found:
        print("\n".join(_lines(loaded[0], found[0])))
    for one in loaded:
        try:
            check_usable(one)
        except CheckpointError as error:
            refused.append(str(error))
    if refused:
        raise CheckpointError("\n".join(refused))


def _related(relation: Relation, loaded: list[Checkpoint]) -> dict[str, Any]:
    def source(index: int | None) -> str | None:
        return None if index is None else loaded[index].source

    return {
        "layout": relation.layout,
        "compared_with": source(relation.first),
        "duplicate_of": source(relation.duplicate),
        "cosine": relation.cosine,
    }


def _table(found: list[dict[str, Any]]) -> str:
    """Lay several checkpoints out, a line each."""
    rows = [["file", "network", "parameters", "layout", "cosine", "sha256", ""]]
    for about in found:
        twin = about["duplicate_of"]
        cosine = "" if about["cosine"] is None else f"{about['cosine']:.4f}"
        name = about["recognised"]["name"] or "not recognised"
        cells = [about["source"], name, f"{about['parameters']:,}", str(about["layout"]), cosine, about["digest"][:12]]
        rows.append([*cells, f"same weights as {twin}" if twin else ""])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {2, 3, 4}
    lines = (
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _recognise(checkpoint: Checkpoint) -> dict[str, Any]:
    from lmc.architectures import identify

    try:
        architecture = identify(checkpoint)
    except ArchitectureError as error:
        return {"name": None, "reason": str(error)}
    return {
        "name": architecture.name,
        "reference": architecture.reference,
        "assumptions": list(architecture.assumptions),
    }


def _lines(checkpoint: Checkpoint, about: dict[str, Any]) -> list[str]:
    recognised = about["recognised"]
    lines = [
        f"{'file':<12}{checkpoint.source}",
        f"{'format':<12}{'   '.join([about['format'], *unwrapping(checkpoint.metadata)])}",
        f"{'sha256':<12}{checkpoint.digest}",
        f"{'network':<12}{recognised['name'] or 'not recognised: pass --model where one is needed'}",
        *(f"{'':<12}{assumption}" for assumption in recognised.get("assumptions", ())),
        f"{'weights':<12}{about['parameters']:,} parameters in {len(about['tensors'])} tensors",
    ]
    width = max((len(tensor["name"]) for tensor in about["tensors"]), default=0)
    for tensor in about["tensors"]:
        lines.append(f"{'':<12}{tensor['name']:<{width}}  {tensor['dtype']:<9} {' x '.join(map(str, tensor['shape']))}")
    own = about.get("lmc") or {}
    lines += [f"{'':<12}{key} = {own[key]}" for key in ("data", "test_accuracy", "aligned", "permuted") if own.get(key)]
    recorded = about.get("recorded") or {}
    lines += [f"{'beside' if not i else '':<12}{key} = {value}" for i, (key, value) in enumerate(recorded.items())]
    return lines
