"""``lmc align A B``: write B permuted so that it lies as close to A as the method gets it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lmc._errors import UsageError
from lmc.cli.common import (
    Common,
    check_weights_writable,
    check_writable,
    describe_model,
    renaming,
    write_weights,
)
from lmc.cli.loading import prove

if TYPE_CHECKING:
    from lmc.alignment import AbstractAlignment
    from lmc.checkpoints import Checkpoint
    from lmc.datasets import AbstractData


def align(
    a: Path,
    b: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    align: str = "weights",
    model: str | None = None,
    data: str | None = None,
    align_data: str | None = None,
    spec: Path | None = None,
    save_permutation: Path | None = None,
    result: Path | None = None,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Write B with its units permuted to match A; its function is the same.

    The file keeps B's own names, types and ties, so that it loads wherever B does. Where B has other widths than A,
    --align ot carries it into A's shapes, which in general changes its function, and the file loads wherever A does.

    For example:

        lmc align a.pt b.pt -o b-aligned.safetensors
        lmc align a.pt b.pt -o b-aligned.safetensors --align "weights?restarts=16" --save-permutation p.npz
        lmc align a.pt b-wide.pt -o b-carried.safetensors --align ot

    Parameters
    ----------
    a
        Checkpoint that stays.
    b
        Checkpoint that is permuted, or carried.
    output
        Safetensors file to write; for a Hugging Face folder, a name without an ending writes such a folder.
    align
        Method, with its options. Without examples: weights (the usual choice), ot (one pass, forward; the
        one that takes other widths), gw (where neighbouring layers say little). With examples: activations (best where
        these are at hand; recurrent networks), ot?on=activations&examples=200. Controls: random, none.
    model
        Network, as in lmc barrier.
    data
        Dataset that tells the shape of the input, where the network does not; --result says how alike units behave on
        it.
    align_data
        Dataset whose training split the method looks at, where it needs examples; --data by default, else what the
        checkpoint was trained on.
    spec
        TOML file of permutation groups, as in lmc barrier.
    save_permutation
        File (.npz) for the permutation, which lmc apply takes.
    result
        NetCDF file (.nc) for what was found: where every unit went, how alike units are before and after, the trace.
    """
    import numpy as np

    from lmc import pipeline, schema
    from lmc.alignment import align as run
    from lmc.datasets import open_data
    from lmc.symmetry import save_permutation as write_permutation

    common.start()
    check_weights_writable(output, b, (a, b))
    if result is not None:
        check_writable(result, ".nc", (a, b))
    if save_permutation is not None:
        check_writable(save_permutation, ".npz", (a, b))
    method = pipeline.resolve_alignments(align, common.seed)[align]
    measured = None if data is None else open_data(data, common.split, common.data_dir)
    shape = common.shape or (None if measured is None else measured.input_shape)
    first = common.open(a)
    examples = _examples(method, align_data, data, first, common)
    known = {"model": model, "mapping": common.map, "input_shape": shape}
    pair = pipeline.load_pair(first, common.open(b), widths_may_differ=method.widths_may_differ, **known)
    common.note("A", describe_model(pair.a))
    if pair.widths_differ:
        _check_wanted({"--save-permutation": save_permutation, "--result": result})
        check_weights_writable(output, a, (a, b))  # a folder is written like A's, whose sizes it has
        common.note("B", describe_model(pair.b))
    elif pair.b.renamed:
        common.note("B", "\n".join([b.name, *renaming(pair.b)]))
    proof = prove(pair.a, spec, common)
    pair.check_widths(proof.spec)
    module = pair.a.architecture.module
    other = pair.b.architecture.module if pair.widths_differ else None
    found = run(pair.a.state, pair.b.state, proof.spec, method=method, data=examples, module=module, module_b=other)
    about = {"alignment": found.method, "reference": pair.a.checkpoint.digest, "source": pair.b.checkpoint.digest}
    moved_state = found.apply(pair.b.state) if found.hard else found.apply_soft(pair.b.state)
    kept = pair.b.checkpoint.metadata.get("lmc", {})
    if not found.hard and "model" in kept:  # what is written has A's shapes
        kept = {**kept, "model": pair.a.architecture.reference}
    like = b if found.hard else a
    write_weights(pair.b.as_written(moved_state), output, like, {"lmc": {**kept, "aligned": about}})
    written = [str(output)]
    if save_permutation is not None:
        written.append(str(write_permutation(save_permutation, proof.spec, found.permutation, about)))
    if result is not None:
        attrs = {**pair.attrs(), "command": shlex.join(["lmc", *sys.argv[1:]])}
        described = pipeline.alignment_dataset(found, pair.a.state, pair.b.state, attrs, data=measured, module=module)
        written.append(str(schema.write(described, result)))
    if found.source is not None:
        moved, done = found.source.units, f"carried   {found.source.units:,} units to {proof.spec.units:,} places"
    else:
        moved = sum(int((perm != np.arange(perm.shape[-1])).sum()) for perm in found.permutation.values())
        done = f"aligned   {moved:,} of {proof.spec.units:,} units moved"
    if common.json:
        summary = {"method": found.method, "objective": found.objective, "message": found.message}
        print(json.dumps({**summary, "moved": moved, "units": proof.spec.units, "written": written}))
    else:
        print(f"{done}, {found.message}")
        print(f"wrote {' and '.join(written)}")


def _check_wanted(files: dict[str, Path | None]) -> None:
    """Refuse to describe a permutation where there is none."""
    for option, file in files.items():
        if file is not None:
            raise UsageError(f"{option} {file}: B has other widths than A, and there is no permutation. Leave it out.")


def _examples(
    method: AbstractAlignment, align_data: str | None, data: str | None, first: Checkpoint, common: Common
) -> AbstractData | None:
    from lmc import pipeline

    if method.needs == "data" and align_data is None:
        return pipeline.data_for(first, data, split="train", data_dir=common.data_dir)
    return pipeline.alignment_data([method], align_data, data_dir=common.data_dir)
