"""``lmc apply B P.npz``: a saved permutation on any checkpoint of the architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lmc.cli.common import Opening, Printing, check_weights_writable, write_weights


def apply(
    checkpoint: Path,
    permutation: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    opening: Opening = Opening(),  # noqa: B008
    printing: Printing = Printing(),  # noqa: B008
) -> None:
    """Permute a checkpoint as `lmc align --save-permutation` recorded it.

    Any checkpoint of the same architecture will do: earlier epochs of the same run, averaged weights, pruned copies.

    For example:

        lmc apply b-epoch3.pt p.npz -o b-epoch3-aligned.safetensors

    Parameters
    ----------
    checkpoint
        What is permuted.
    permutation
        File written by lmc align --save-permutation.
    output
        Safetensors file to write; for a Hugging Face folder, a name without an ending writes such a folder.
    """
    from lmc.symmetry import load_permutation

    check_weights_writable(output, checkpoint, (checkpoint,))
    loaded = opening.open(checkpoint)
    spec, vectors, about = load_permutation(permutation)
    state = spec.apply(loaded.state, vectors)
    record = {**loaded.metadata.get("lmc", {}), "permuted": {**about, "of": loaded.digest}}
    write_weights(loaded.as_written(state), output, checkpoint, {"lmc": record})
    if printing.json:
        print(json.dumps({"units": spec.units, "groups": len(spec.groups), "written": [str(output)]}))
    else:
        print(f"permuted {len(spec.groups)} groups, {spec.units:,} units; wrote {output}")
