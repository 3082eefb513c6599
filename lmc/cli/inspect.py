"""``lmc inspect FILE...``: what a checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmc._errors import ArchitectureError, CheckpointError, UsageError
from lmc.cli.common import Printing, unwrapping

if TYPE_CHECKING:
    from lmc.checkpoints import Checkpoint


def inspect(*files: Path, entry: str | None = None, printing: Printing = Printing()) -> None:  # noqa: B008
    """Say what checkpoints are: source, tensors, the network they are recognised as, digest.

    For example:

        lmc inspect a.pt
        lmc inspect runs/*.pt --json

    Parameters
    ----------
    files
        Checkpoints; one that cannot be read is named, and the others are still shown.
    entry
        Which state dict, of a checkpoint that holds several (ema).
    """
    from lmc.checkpoints import describe, load

    if not files:
        raise UsageError("Which checkpoint? Usage: lmc inspect FILE...")
    found, refused = [], []
    for file in files:
        try:
            checkpoint = load(file, entry=entry)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        found.append({**describe(checkpoint), "recognised": _recognise(checkpoint)})
        if not printing.json:
            print("\n".join(_lines(checkpoint, found[-1])), end="\n\n" if file is not files[-1] else "\n")
    if printing.json and found:
        print(json.dumps(found if len(files) > 1 else found[0], default=str))
    if refused:
        raise CheckpointError("\n".join(refused))


def _recognise(checkpoint: Checkpoint) -> dict[str, Any]:
    from lmc.architectures import resolve

    try:
        architecture = resolve(None, checkpoint)
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
