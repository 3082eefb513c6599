"""``lmc fuse A B ...``: one network made of several, beside its parents."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from lmc._errors import DatasetError, UsageError
from lmc.cli import fusion_lines
from lmc.cli.common import (
    ALIGNMENT,
    WHAT,
    WRITTEN,
    Common,
    check_weights_writable,
    check_writable,
    write_weights,
)
from lmc.cli.loading import introduce, introduce_data, load_any, prove, sizes, sources

if TYPE_CHECKING:
    from lmc.architectures import Architecture
    from lmc.checkpoints import Checkpoint
    from lmc.datasets import AbstractData
    from lmc.fusion import AbstractFusion, FusionResult
    from lmc.pipeline import Fused, Model, Proof


def fuse(
    checkpoints: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o", group=WRITTEN)] = None,
    method: Annotated[str, Parameter(group=ALIGNMENT)] = "wb",
    mix: Annotated[str | None, Parameter(group=ALIGNMENT)] = None,
    widths: Annotated[str | None, Parameter(group=ALIGNMENT)] = None,
    into: Annotated[str | None, Parameter(group=ALIGNMENT)] = None,
    base: Annotated[Path | None, Parameter(group=ALIGNMENT)] = None,
    align_data: Annotated[str | None, Parameter(group=ALIGNMENT)] = None,
    spec: Annotated[Path | None, Parameter(group=ALIGNMENT)] = None,
    finetune: Annotated[int, Parameter(group=ALIGNMENT)] = 0,
    lr: Annotated[float, Parameter(group=ALIGNMENT)] = 1e-3,
    recalibrate: Annotated[bool, Parameter(negative="", group=ALIGNMENT)] = False,
    model: Annotated[str | None, Parameter(group=WHAT)] = None,
    data: Annotated[str | None, Parameter(group=WHAT)] = None,
    result: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    figure: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    plane: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    resolution: Annotated[int, Parameter(group=WRITTEN)] = 25,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Fuse two or more checkpoints into one network.

    Where there are data, the parents, their ensembles, the vanilla average and the fused network are measured on the
    same examples, with 95% intervals.

    For example:

        lmc fuse a.pt b.pt -o fused.safetensors --data mnist
        lmc fuse a.pt b.pt c.pt -o fused.safetensors --method align-then-average --mix 0.5,0.3,0.2
        lmc fuse small.pt large.pt -o mid.safetensors --widths 400,200,100
        lmc fuse a.pt b.pt -o fused.safetensors --data mnist --finetune 2 --result table.nc --figure table.png
        lmc fuse a.pt b.pt --base pretrained.pt -o fused.safetensors --method "ties?density=0.3"

    Parameters
    ----------
    checkpoints
        Two or more checkpoints; one alone with --widths or --into, which carries it into other widths.
    output
        Safetensors file for the fused network; for a Hugging Face folder, a name without an ending writes such a
        folder. Not needed with --result.
    method
        Method, with its options: wb (Wasserstein barycenter), ot, transformer (soft maps), gwb (recurrent networks),
        align-then-average, vanilla, soup, fisher, regmean, task-arithmetic, ties, ensemble. docs/fusion.md says when to
        take which.
    mix
        Share of each checkpoint, as 0.7,0.3; equal by default.
    widths
        Units of each hidden layer of the fused network, in order (400,200,100); the first checkpoint's by default.
    into
        The network to fuse into, in place of --widths, as --model.
    base
        Checkpoint that all others were fine-tuned from, for task-arithmetic and ties.
    align_data
        Dataset whose training split fusion looks at, where it takes examples (methods, --finetune, --recalibrate); by
        default the training split of --data. Never the examples that results are reported on.
    spec
        TOML file of permutation groups, as in lmc barrier.
    finetune
        Epochs to train the fused network further; the vanilla average too, as a control.
    lr
        Learning rate of that at the start.
    recalibrate
        Reset BatchNorm statistics of averaged networks on training data; parents keep their own.
    model
        Network of the checkpoints, as in lmc barrier.
    data
        Dataset to measure on, as in lmc barrier. What the checkpoints were trained on by default, where they say so.
    result
        NetCDF file (.nc) for the table.
    figure
        Figure of the table to write (png, pdf, svg).
    plane
        NetCDF file (.nc) for the loss on the plane through two checkpoints and the second one permuted by the coupling,
        the fused network marked; lmc plot draws it.
    resolution
        Points along the longer side of that plane, about.
    """
    from lmc import pipeline, plotting, schema

    common.start()
    _check_files(checkpoints, output, {"result": result, "plane": plane}, figure, base)
    if plane is not None and (len(checkpoints) != 2 or widths is not None or into is not None):
        raise UsageError("--plane goes through two checkpoints of one width, fused into that width.")
    methods = pipeline.resolve_fusions(method, common.seed)
    shares = None if mix is None else _numbers("--mix", mix, float)
    units = None if widths is None else _numbers("--widths", widths, int)
    if widths is not None and into is not None:
        raise UsageError("--widths and --into both say what to fuse into: pass one of them.")
    if len(checkpoints) < 2 and widths is None and into is None:
        raise UsageError("Fusion takes two checkpoints or more; one alone needs --widths or --into.")
    trains = [name for name, asked in (("--finetune", finetune), ("--recalibrate", recalibrate)) if asked]
    pipeline.check_request(methods.values(), len(checkpoints), shares, base is not None, True, finetune, recalibrate)
    _check_written(methods[method], output, result)
    loaded = [common.open(path) for path in checkpoints]
    measured = _measured(loaded, data, any((result, figure, plane)), common)
    training = pipeline.fusion_data(methods.values(), align_data, measured, wanted=trains, data_dir=common.data_dir)
    known = sizes(measured or training, common)
    models = load_any(loaded, model, known)
    start = None if base is None else pipeline.load_pair(loaded[0], common.open(base), model=model, **known).b
    introduce(models, measured, common)
    if training is not None:
        introduce_data(training, common, "training")
    proofs = _prove(models, spec, common)
    target, proof = _target(models[0], proofs[0], units, into, known, common)
    made = pipeline.fusion_table(
        [one.architecture.module for one in models],
        [one.state for one in models],
        measured,
        method=method,
        mix=shares,
        names=_names(checkpoints),
        into=None if proof is None else target.module,
        base=None if start is None else start.state,
        train_data=training,
        finetune=finetune,
        finetuning={"lr": lr},
        recalibrate=recalibrate,
        proofs=proofs,
        target=proof,
        seed=common.seed,
        device=common.device,
        dtype=common.torch_dtype,
        attrs={**sources(models), "command": shlex.join(["lmc", *sys.argv[1:]])},
        progress=common.progress,
    )
    written = []
    if output is not None:
        about = _about(models, made.result, target, finetune, start)
        written.append(write_weights(models[0].as_written(made.state), output, checkpoints[0], {"lmc": about}))
    if result is not None and made.dataset is not None:
        written.append(schema.write(made.dataset, result))
    if figure is not None and made.dataset is not None:
        written.append(plotting.save_figure(plotting.plot_fusion_table(made.dataset).figure, figure))
    if plane is not None:
        measured_plane = pipeline.fusion_plane(
            models[0].architecture.module,
            [one.state for one in models],
            measured,
            result=made.result,
            proof=proofs[0],
            seed=common.seed,
            resolution=resolution,
            device=common.device,
            dtype=common.torch_dtype,
            attrs={**sources(models), "command": shlex.join(["lmc", *sys.argv[1:]])},
            progress=common.progress,
        )
        written.append(schema.write(measured_plane, plane))
    _tell(made, models, measured, [str(path) for path in written], common)


def _check_files(
    checkpoints: list[Path],
    output: Path | None,
    results: dict[str, Path | None],
    figure: Path | None,
    base: Path | None,
) -> None:
    """Refuse what could not be written, before anything is read."""
    from lmc import plotting

    inputs = [*checkpoints, *([base] if base is not None else [])]
    if output is None and results["result"] is None:
        raise UsageError("Nowhere to write: pass -o fused.safetensors, or --result table.nc for the table alone.")
    if output is not None:
        check_weights_writable(output, checkpoints[0], inputs)
    for file in filter(None, results.values()):
        check_writable(file, ".nc", inputs)
    if figure is not None:
        plotting.figure_format(figure)
        check_writable(figure, inputs=inputs)


def _check_written(method: AbstractFusion, output: Path | None, result: Path | None) -> None:
    from lmc.fusion import PredictionEnsemble

    if isinstance(method, PredictionEnsemble) and output is not None:
        raise UsageError(
            "An ensemble is no single network, so there is nothing for -o to write: --result table.nc measures it, and "
            "every other method's table has it beside."
        )


def _measured(loaded: list[Checkpoint], data: str | None, needed: bool, common: Common) -> AbstractData | None:
    """Open the data to measure on, where the user or the checkpoints name them; none are a fault where they must be."""
    from lmc import pipeline

    if data is None and not needed and not loaded[0].metadata.get("lmc", {}).get("data"):
        return None
    try:
        return pipeline.data_for(loaded[0], data, split=common.split, data_dir=common.data_dir)
    except (DatasetError, UsageError) as error:
        if data is not None or needed:
            raise
        common.note("data", f"not measured: {error}")
        return None


def _prove(models: list[Model], spec: Path | None, common: Common) -> list[Proof]:
    """Prove each network's symmetries, once for all that share one."""
    known: dict[str, Proof] = {}
    for one in models:
        if one.architecture.reference not in known:
            known[one.architecture.reference] = prove(one, spec, common)
    return [known[one.architecture.reference] for one in models]


def _target(
    first: Model, proof: Proof, units: list[int] | None, into: str | None, known: dict[str, Any], common: Common
) -> tuple[Architecture, Proof | None]:
    """Return the network to fuse into, and its symmetries where it is another one than the first."""
    from lmc import pipeline
    from lmc.architectures import resolve

    if units is not None:
        found = pipeline.resized(first.architecture, proof.spec, pipeline.sizes_of(proof.spec, units))
    elif into is not None:
        options = {key: value for key, value in known.items() if key != "mapping"}
        found = resolve(into, seed=common.seed, **options)
    else:
        return first.architecture, None
    common.note("into", found.name)
    return found, pipeline.prove(found.module, found.example_inputs(seed=common.seed))


def _numbers(option: str, text: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"{option} {text!r}: write numbers with commas between them, as 0.7,0.3 or 400,200."
        ) from error


def _names(checkpoints: list[Path]) -> list[str]:
    from lmc.pipeline.sets import short_names

    return short_names([str(path) for path in checkpoints])


def _about(
    models: list[Model], result: FusionResult, target: Architecture, finetune: int, base: Model | None
) -> dict[str, Any]:
    """Return what the file says of itself: the network and data as of the first checkpoint, and what it was made of."""
    kept = ("model", "input_shape", "data", "data_digest", "normalization")
    own = models[0].checkpoint.metadata.get("lmc", {})
    about = {key: own[key] for key in kept if key in own}
    if ":" not in target.reference:  # code of the user's own is never named in a file
        about["model"] = target.reference
    fused: dict[str, Any] = {
        "method": result.method,
        "of": [one.checkpoint.digest for one in models],
        "mix": list(result.mix),
        "seed": result.seed,
        "message": result.message,
    }
    fused |= {"finetuned": finetune} if finetune else {}
    fused |= {} if base is None else {"base": base.checkpoint.digest}
    return {**about, "fused": fused}


def _tell(made: Fused, models: list[Model], measured: AbstractData | None, written: list[str], common: Common) -> None:
    for warning in made.result.warnings:
        common.note("caveat", warning)
    if common.json:
        print(json.dumps(fusion_lines.as_json(made, models, measured, written)))
        return
    print(f"{'fused':<10}{made.result.method}: {made.result.message}")
    if made.dataset is not None:
        print(f"\n{fusion_lines.table(made.dataset)}\n")
    else:
        print(f"{'measured':<10}nothing: the checkpoints name no data, pass --data")
    print(f"wrote {', '.join(written)}")
