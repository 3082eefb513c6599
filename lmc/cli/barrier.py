"""``lmc barrier A B``: the main job."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from lmc._errors import InputError, UsageError
from lmc._imports import import_object
from lmc.cli import adaptive as adaptive_lines
from lmc.cli import barrier_lines
from lmc.cli.common import (
    ALIGNMENT,
    MEASURED,
    WAY,
    WHAT,
    WRITTEN,
    Common,
    check_writable,
    describe_model,
    renaming,
)
from lmc.cli.dtype_lines import dtype_lines
from lmc.cli.loading import load_pair, prove
from lmc.cli.repair_lines import repair_lines
from lmc.cli.resuming import choose_output, finished, kept_parts, write_result

if TYPE_CHECKING:
    import xarray as xr

    from lmc.checkpoints import Checkpoint
    from lmc.datasets import AbstractData, Normalization
    from lmc.pipeline import Pair, Proof


def barrier(
    a: Path,
    b: Path,
    /,
    *,
    model: Annotated[str | None, Parameter(group=WHAT)] = None,
    data: Annotated[str | None, Parameter(group=WHAT)] = None,
    data_b: Annotated[str | None, Parameter(group=WHAT)] = None,
    align: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, group=ALIGNMENT)] = None,
    align_data: Annotated[str | None, Parameter(group=ALIGNMENT)] = None,
    spec: Annotated[Path | None, Parameter(group=ALIGNMENT)] = None,
    points: Annotated[int, Parameter(group=WAY)] = 25,
    path: Annotated[str, Parameter(group=WAY)] = "linear",
    only: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, group=WAY)] = None,
    via: Annotated[list[Path] | None, Parameter(negative="", consume_multiple=True, group=WAY)] = None,
    adaptive: Annotated[bool, Parameter(negative="", group=MEASURED)] = False,
    tolerance: Annotated[float | None, Parameter(group=MEASURED)] = None,
    metric: Annotated[Literal["loss", "error"] | None, Parameter(group=MEASURED)] = None,
    confidence: Annotated[float, Parameter(group=MEASURED)] = 0.95,
    recalibrate: Annotated[bool, Parameter(negative="", group=MEASURED)] = False,
    repair: Annotated[bool, Parameter(negative="", group=MEASURED)] = False,
    loss: Annotated[str | None, Parameter(group=MEASURED)] = None,
    also: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, group=MEASURED)] = None,
    resume: Annotated[bool, Parameter(negative="", group=WRITTEN)] = False,
    output: Annotated[Path | None, Parameter(alias="-o", group=WRITTEN)] = None,
    figure: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Measure the barrier between two checkpoints, before and after alignment.

    Loss and accuracy are measured along the path from A to B, a straight line by default, with 95% intervals. The
    loss barrier is the largest rise above the chord between the ends. Everything goes into a labelled netCDF file and
    a figure.

    For example:

        lmc barrier a.pt b.pt --data mnist
        lmc barrier a.pt b.pt --data "mnist?normalize=none" --align none --align "weights?restarts=4"
        lmc barrier a.pt b.pt --adaptive --tolerance 0.02
        lmc barrier a.th b.pth --model resnet20 --data cifar10 --recalibrate -o out.nc --figure out.pdf

    Parameters
    ----------
    a
        Checkpoint of one network.
    b
        Checkpoint of the other.
    model
        Network: a name (mlp, lenet, cnn-bn, resnet20, rnn, lstm, vit, gpt), file.py:Class or package.module:factory,
        with options as ?width=4&depth=3. Recognised from the checkpoint where it can be.
    data
        Dataset: digits, mnist, fashion-mnist, cifar10, cifar10-4k, text:FILE, FILE.npz, an import path.
        Options: ?normalize=none&limit=1000. What the checkpoint was trained on by default, where it says so.
    data_b
        The same examples with the normalisation that B was trained with, where it differs from A's.
    align
        Alignments of B to A, a row of the table each: none, random, weights, frank-wolfe,
        activations?examples=1000, ot?on=activations, gw, sinkhorn, ste, annealing, activations+ste. Both none and
        weights by default. A soft plan (ot?soft=true) has a row of its own beside
        the permutation it is rounded to. Where B has other widths, ot alone: its plan is the one row.
    align_data
        Dataset whose training split alignments look at, where they need examples; by default the training split of
        the measured data. Never the examples that the barrier is reported on.
    spec
        TOML file of permutation groups (lmc symmetries --write-spec) that corrects what is found in the network, or
        stands for it where that cannot be traced; verified like any other.
    points
        Positions along the path, equally spaced, ends included; the midpoint is added where they miss it.
    path
        linear, or spherical: every parameter tensor turns from A's direction to B's; buffers move on the line in both.
    only
        Modules or tensors that move (layer3), once for each: B is aligned as a whole, and the other end is A with these
        parts of B. Inputs are scaled for A all along.
    via
        Further checkpoints that the path runs through in straight lines, once for each; aligned to A as B is.
    adaptive
        Decide only whether each barrier is below a tolerance: positions and examples are added until that is sure.
    tolerance
        What --adaptive compares the barrier with; 0.02 by default.
    metric
        Whose barrier --adaptive decides on: that of the loss (by default), or of the error.
    confidence
        How sure intervals and verdicts are.
    recalibrate
        Reset BatchNorm statistics on training data at every position, the ends included.
    repair
        REPAIR on training data at every position: units get the means and standard deviations of the ends',
        interpolated; BatchNorm is reset too, so that this is in place of --recalibrate.
    loss
        A loss of your own, package.module:function or file.py:function: outputs and targets of a batch to one value
        for each example. Cross-entropy (per token, for text) or squared error by default, as the data ask for.
    also
        Further quantities for the result file: disagreement (of predicted classes), top5 (accuracy), closeness (of
        activations, layer by layer), sharpness (of the ends).
    resume
        Go on with what an interrupted run of the same command left in OUTPUT.parts, or share the work of one that
        runs; the numbers are those of a run that was never interrupted.
    output
        NetCDF file to write; barrier.nc, or the next free number, by default.
    figure
        Figure to write (png, pdf, svg); beside the netCDF file by default.
    """
    from lmc import pipeline, plotting
    from lmc.barriers import check_further, make_grid
    from lmc.barriers.repaired import refuse_both

    common.start()
    check_further(also or ())
    if adaptive and also:
        raise UsageError("--also measures whole paths; --adaptive evaluates as little of them as it can. Choose one.")
    asked = adaptive_lines.settings(adaptive, tolerance, metric, confidence)
    output = output or choose_output("barrier", ".nc", resume)
    figure = figure or output.with_suffix(".png")
    plotting.figure_format(figure)
    inputs = (a, b, *(via or ()))
    check_writable(output, ".nc", inputs)
    check_writable(figure, inputs=inputs)
    make_grid(points)
    pipeline.Route(path, via=({},) * len(via or ()))
    refuse_both(recalibrate or None, repair or None)
    methods = pipeline.resolve_alignments(align or ["none", "weights"], common.seed)
    able = all(method.widths_may_differ for method in methods.values())
    pair, measured = load_pair(a, b, model, data, common, widths_may_differ=able)
    normalizations = _normalizations(measured, data_b, common)
    function = None if loss is None else import_object(loss, InputError)
    aligning = pipeline.alignment_data(methods.values(), align_data, measured, data_dir=common.data_dir)
    _introduce(pair, measured, normalizations, common)
    further = _route(pair, path, only or [], [common.open(one) for one in via or ()], common)
    if aligning is not None:
        common.note("aligned", "\n".join([f"on {aligning.name} {aligning.split}", *aligning.notes]))
    with kept_parts(output, resume, common) as parts:
        settings = {
            "align": list(align or ["none", "weights"]),
            "path": path,
            "only": only or [],
            "via": further,
            "align_data": aligning,
            "seed": common.seed,
            "points": points,
            **asked,
            "normalizations": normalizations,
            "recalibrate": _training_data(measured, "reset", common) if recalibrate else None,
            "loss": function,
            "device": common.device,
            "dtype": common.torch_dtype,
        }
        if repair:
            settings |= {"repair": _training_data(measured, "repair", common)}
        if not adaptive:  # its rounds are not kept: they are a fraction of the work
            settings |= {"also": list(also or ()), "work": parts}
        module = pair.a.architecture.module
        unit = pipeline.barrier_unit(module, pair.a.state, pair.b.state, measured, **settings, spec=spec)
        result = finished(output, unit, common) if resume else None
        if result is None:
            attrs = {**pair.attrs(), "command": shlex.join(["lmc", *sys.argv[1:]])}
            attrs |= {"loss": loss} if loss else {}
            settings |= {"proof": _prove(pair, methods, spec, common), "progress": common.progress}
            end = pair.b.network() if pair.widths_differ else pair.b.state
            result = pipeline.barrier(module, pair.a.state, end, measured, **settings, attrs=attrs)
            result = write_result(result, unit, output, parts)
        else:
            common.note("resume", f"{output} is complete, nothing was computed")
        draw = plotting.plot_adaptive if adaptive else plotting.plot_barrier
        plotting.save_figure(draw(result).figure, figure)
    _hint(result, measured, common)
    show = adaptive_lines if adaptive else barrier_lines
    if common.json:
        print(json.dumps(show.as_json(result, pair, measured, output, figure)))
    else:
        print()
        print(show.table(result))
        for line in (*repair_lines(result), *dtype_lines(result)):
            print(line)
        print(f"\nwrote {output} (xarray.open_dataset) and {figure}")


def _normalizations(
    measured: AbstractData, data_b: str | None, common: Common
) -> tuple[Normalization | None, Normalization | None]:
    from lmc.datasets import open_data

    if data_b is None:
        return measured.normalization, measured.normalization
    other = open_data(data_b, common.split, common.data_dir)
    if other.digest != measured.digest:
        raise UsageError(
            f"--data-b {data_b} holds other examples than --data {measured.reference}: only constants may differ."
        )
    return measured.normalization, other.normalization


def _training_data(measured: AbstractData, purpose: str, common: Common) -> AbstractData:
    from lmc.datasets import open_data

    examples = open_data(measured.reference, "train", common.data_dir)
    statistics = "BatchNorm statistics" if purpose == "reset" else "statistics of units"
    common.note(purpose, "\n".join([f"{statistics} on {examples.name} {examples.split}", *examples.notes]))
    return examples


def _introduce(pair: Pair, measured: AbstractData, normalizations: Any, common: Common) -> None:
    """Say what was loaded and what was assumed, before the long work."""
    near = round(pair.cosine, 2) + 0.0  # no negative zero
    relation = (
        "an independent run" if abs(near) < 0.5 else "close to A: the same run, a child of it, or already aligned"
    )
    common.note("A", describe_model(pair.a))
    same = f"{Path(pair.b.checkpoint.source).name}   the same architecture, {relation} (cosine {near:.2f})"
    same = describe_model(pair.b) if pair.widths_differ else "\n".join([same, *renaming(pair.b)])
    common.note("B", same)
    size = "" if measured.size is None else f", {measured.size:,} examples"
    constants = [str(n) if n else "not normalised" for n in normalizations]
    normalised = constants[0] if constants[0] == constants[1] else f"A {constants[0]}; B {constants[1]}"
    task = ["regression: no accuracy"] if measured.task == "regression" else []
    common.note("data", "\n".join([f"{measured.name} {measured.split}{size}, {normalised}", *task, *measured.notes]))


def _route(pair: Pair, path: str, only: list[str], via: list[Checkpoint], common: Common) -> list[Checkpoint]:
    """Say which way the path takes, where it is not the line between the whole networks."""
    from lmc import pipeline

    further = pipeline.open_via(via, pair, common.map)
    module = pair.a.architecture.module
    end = pair.a.state if pair.widths_differ else pair.b.state  # what is carried has A's shapes
    if told := pipeline.Route.of(path, only, further).fitted(module, pair.a.state, end).describe(module):
        common.note("path", told)
    return further


def _prove(pair: Pair, methods: Any, spec: Path | None, common: Common) -> Proof | None:
    from lmc.alignment import Identity

    if all(isinstance(method, Identity) for method in methods.values()):
        return None
    proof = prove(pair.a, spec, common)
    pair.check_widths(proof.spec)
    return proof


def _hint(result: xr.Dataset, measured: AbstractData, common: Common) -> None:
    """An end near chance most often means other normalisation, labels or activation than in training."""
    if "accuracy" not in result or not measured.num_classes:
        return
    chance = 1 / measured.num_classes
    # A hybrid may well be at chance, and so may what was carried from other widths.
    ends = (("A", 0),) if {"only", "b_model"} & set(result.attrs) else (("A", 0), ("B", -1))
    for end, at in ends:
        accuracy = float(result.accuracy[0, at])
        if accuracy < chance + 0.25 * (1 - chance):
            common.note(
                "hint",
                f"{end} is right on {100 * accuracy:.1f}% (chance is {100 * chance:.1f}%): was it trained on "
                "these data, normalised like this, with this activation? Try ?normalize=none, --data-b or --model.",
            )
