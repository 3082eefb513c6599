"""``lmc convert A -o A.safetensors``: any checkpoint as safetensors, in torch's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lmc.cli.common import Printing, check_writable, unwrapping


def convert(
    checkpoint: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    entry: str | None = None,
    map: Path | None = None,
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Write a checkpoint of any readable format as safetensors, in torch's layout, with where it came from.

    Wrappers and prefixes are left behind, ties and types are kept. The header records the file's digest, its format
    and what was taken off.

    For example:

        lmc convert model.keras -o model.safetensors
        lmc convert last.ckpt --entry ema -o ema.safetensors

    Parameters
    ----------
    checkpoint
        File or folder.
    output
        Safetensors file to write.
    entry
        Which state dict, of a checkpoint that holds several (ema).
    map
        TOML file of lines "name in the checkpoint" = "name to write".
    """
    from lmc.checkpoints import load, save
    from lmc.pipeline import read_names, rename

    check_writable(output, ".safetensors", (checkpoint,))
    loaded = load(checkpoint, entry=entry)
    named = loaded if map is None else rename(loaded, read_names(map, loaded))
    notes = {key: loaded.metadata.get(key) for key in _KEPT if loaded.metadata.get(key)}
    origin = {"source": Path(checkpoint).name, "sha256": loaded.digest, **notes}
    written = save(named.state, output, {"lmc": {**loaded.metadata.get("lmc", {}), "converted": origin}})
    if printing.json:
        print(json.dumps({"tensors": len(named.state), "parameters": loaded.parameters, "written": [str(written)]}))
    else:
        printing.note("format", "   ".join([loaded.metadata["format"], *unwrapping(loaded.metadata)]))
        print(f"wrote {written}: {len(named.state)} tensors, {loaded.parameters:,} parameters")


_KEPT = ("framework", "format", "versions", "unwrapped", "stripped", "transposed", "reordered", "left out")
