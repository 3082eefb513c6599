"""``lmc convert A -o A.safetensors``: any checkpoint as safetensors, in torch's layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lmc.cli.common import Opening, Printing, check_writable, unwrapping


def convert(
    checkpoint: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    map: Path | None = None,
    base: Path | None = None,
    alpha: float | None = None,
    opening: Opening = Opening(),  # noqa: B008
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Write a checkpoint of any readable format as safetensors, in torch's layout, with where it came from.

    Wrappers and prefixes are left behind, ties and types are kept. The header records the file's digest, its format
    and what was taken off.

    For example:

        lmc convert model.keras -o model.safetensors
        lmc convert last.ckpt --entry ema -o ema.safetensors
        lmc convert adapter/ --base llama/ -o merged.safetensors

    Parameters
    ----------
    checkpoint
        File or folder.
    output
        Safetensors file to write.
    map
        TOML file of lines "name in the checkpoint" = "name to write".
    base
        The network that a LoRA adapter changes: the sum is written.
    alpha
        The adapter's lora_alpha, where its folder does not record it.
    """
    from lmc.checkpoints import merge, save
    from lmc.pipeline import read_names, rename

    check_writable(output, ".safetensors", (checkpoint,))
    loaded = opening.open(checkpoint)
    named = loaded if map is None else rename(loaded, read_names(map, loaded))
    state = named.state if base is None else merge(opening.open(base), named, alpha)
    notes = {key: loaded.metadata.get(key) for key in _KEPT if loaded.metadata.get(key)}
    notes |= {} if base is None else {"base": base.name}
    origin = {"source": Path(checkpoint).name, "sha256": loaded.digest, **notes}
    written = save(state, output, {"lmc": {**loaded.metadata.get("lmc", {}), "converted": origin}})
    count = replace(named, state=state).parameters
    if printing.json:
        print(json.dumps({"tensors": len(state), "parameters": count, "written": [str(written)]}))
    else:
        printing.note("format", "   ".join([loaded.metadata["format"], *unwrapping(loaded.metadata)]))
        print(f"wrote {written}: {len(state)} tensors, {count:,} parameters")


_KEPT = ("framework", "format", "versions", "unwrapped", "stripped", "transposed", "reordered", "left out")
