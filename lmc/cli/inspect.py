"""``lmc inspect FILE...``: what a checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmc._errors import ArchitectureError
from lmc.cli.common import Common, unwrapping

if TYPE_CHECKING:
    from lmc.checkpoints import Checkpoint


def inspect(*files: Path, common: Common = Common()) -> None:  # noqa: B008
    """Say what checkpoints are: source, tensors, the network they are recognised as, digest.

    For example:

        lmc inspect a.pt
        lmc inspect runs/*.pt --json

    Parameters
    ----------
    files
        Checkpoints.
    """
    from lmc._errors import UsageError
    from lmc.checkpoints import describe, load

    common.start()
    if not files:
        raise UsageError("Which checkpoint? Usage: lmc inspect FILE...")
    found = []
    for file in files:
        checkpoint = load(file)
        found.append({**describe(checkpoint), "recognised": _recognise(checkpoint)})
        if not common.json:
            print("\n".join(_lines(checkpoint, found[-1])), end="\n\n" if file is not files[-1] else "\n")
    if common.json:
        print(json.dumps(found if len(found) > 1 else found[0], default=str))


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
    recorded = about.get("recorded") or {}
    lines += [f"{'beside' if not i else '':<12}{key} = {value}" for i, (key, value) in enumerate(recorded.items())]
    return lines
