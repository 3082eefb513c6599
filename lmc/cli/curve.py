"""``lmc curve A B``: a curve of low loss between two checkpoints, trained or read."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from lmc._errors import UsageError
from lmc.cli.common import Common, check_writable, describe_model, free_name
from lmc.cli.loading import introduce_data, load_pair

if TYPE_CHECKING:
    import xarray as xr

    from lmc.datasets import AbstractData
    from lmc.interpolation import AbstractCurve
    from lmc.pipeline import Pair


def curve(
    a: Path,
    b: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    along: Path | None = None,
    data: str | None = None,
    model: str | None = None,
    kind: str | None = None,
    bends: int = 3,
    steps: int = 2000,
    lr: float = 3e-3,
    batch_size: int = 64,
    points: int = 25,
    result: Path | None = None,
    figure: Path | None = None,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Train a curve of low loss between two checkpoints, and measure it beside the straight line.

    The ends stay as they are: align B first (lmc align) to see what symmetries alone leave over. Where the network has
    BatchNorm, its statistics are reset on training data at every position of both paths.

    For example:

        lmc curve a.pt b.pt --data mnist -o curve.safetensors --steps 2000
        lmc curve a.pt b.pt --data mnist --along polychain.pt

    Parameters
    ----------
    a
        Checkpoint of one end.
    b
        Checkpoint of the other.
    output
        Safetensors file for the trained curve: NAME_k is tensor NAME at bend k.
    along
        Measure this curve instead of training one: a file of lmc curve, or of Garipov et al.'s code.
    data
        Dataset, as in lmc barrier; trained on its training split, measured on its test split.
    model
        Network, as in lmc barrier.
    kind
        bezier (the default) or polygonal; of a curve that is read, where its file does not say.
    bends
        Points that define the curve, the ends included.
    steps
        Training steps.
    lr
        Learning rate of the first step; it falls to zero along a cosine.
    batch_size
        Examples in a step.
    points
        Positions that are measured, ends included; the midpoint is added where they miss it.
    result
        NetCDF file to write; curve.nc, or the next free number, by default.
    figure
        Figure to write (png, pdf, svg); beside the netCDF file by default.
    """
    from lmc import pipeline, plotting, schema
    from lmc.barriers import make_grid

    common.start()
    if (along is None) == (output is None):
        raise UsageError("Either train a curve and write it (-o curve.safetensors), or measure one (--along FILE).")
    written = result or free_name("curve", ".nc")
    figure = figure or written.with_suffix(".png")
    plotting.figure_format(figure)
    inputs = (a, b, *([along] if along else []))
    for file, suffix in ((written, ".nc"), (figure, ""), *([(output, ".safetensors")] if output else [])):
        check_writable(file, suffix, inputs)
    make_grid(points)
    pair, measured, training = _load(a, b, model, data, common)
    if along is not None:
        path = pipeline.load_curve(common.open(along), pair.a.architecture.module, kind)
        path = pipeline.between(path, pair.a.state, pair.b.state, str(along))
        settings: dict[str, Any] = {"curve_source": str(along)}
    else:
        options = {"kind": kind or "bezier", "bends": bends, "steps": steps, "lr": lr, "batch_size": batch_size}
        path, settings = _train(pair, training, options, common)
        assert output is not None
        pipeline.save_curve(
            path, output, {"model": pair.a.architecture.reference, "data": measured.reference, **settings}
        )
    common.note("curve", path.description.partition(":")[0])
    dataset = pipeline.measure_curve(
        pair.a.architecture.module,
        path,
        measured,
        training=training,
        points=points,
        seed=common.seed,
        device=common.device,
        dtype=common.torch_dtype,
        attrs={**pair.attrs(), **settings, "command": shlex.join(["lmc", *sys.argv[1:]])},
        progress=common.progress,
    )
    schema.write(dataset, written)
    plotting.save_figure(plotting.plot_barrier(dataset).figure, figure)
    _tell(dataset, settings, [str(file) for file in (output, written, figure) if file is not None], common)


def _load(
    a: Path, b: Path, model: str | None, data: str | None, common: Common
) -> tuple[Pair, AbstractData, AbstractData]:
    """Open the ends, the data to measure on and those to train on, and say what they are."""
    from lmc.datasets import open_data

    pair, measured = load_pair(a, b, model, data, common)
    training = open_data(measured.reference, "train", common.data_dir)
    common.note("A", describe_model(pair.a))
    common.note("B", f"{b.name}   cosine with A {pair.cosine + 0.0:.2f}")
    for label, examples in (("data", measured), ("training", training)):
        introduce_data(examples, common, label)
    return pair, measured, training


def _train(
    pair: Pair, training: AbstractData, options: dict[str, Any], common: Common
) -> tuple[AbstractCurve, dict[str, Any]]:
    """Train a curve; return it with what a result and its file record of that."""
    from lmc.interpolation import train_curve

    module = pair.a.architecture.module
    places = {"seed": common.seed, "device": common.device, "progress": common.progress}
    result = train_curve(module, pair.a.state, pair.b.state, training, **options, **places)
    tenth = max(1, len(result.losses) // 10)
    first, last = float(result.losses[:tenth].mean()), float(result.losses[-tenth:].mean())
    common.note(
        "trained",
        f"{len(result.losses):,} steps in {result.seconds:.1f} s: loss {first:.3f} in the first tenth, {last:.3f} in "
        "the last, at random positions",
    )
    told = {**result.settings, "seconds": result.seconds, "loss_first": first, "loss_last": last}
    return result.path, {f"curve_{key}": value for key, value in told.items()}


def _tell(result: xr.Dataset, settings: dict[str, Any], written: list[str], common: Common) -> None:
    worst = {name: _worst(result.sel(alignment=name)) for name in ("straight", "curve")}
    if common.json:
        rows = [_row(result.sel(alignment=name), worst[name]) for name in worst]
        told = {"t": result.t.values.tolist(), "paths": rows, "settings": settings, "written": written}
        print(json.dumps(told))
        return
    from lmc.cli.barrier_lines import table

    lowest = worst["curve"]
    shown = f"accuracy {100 * lowest['accuracy']:.2f}%" if "accuracy" in lowest else f"loss {lowest['loss']:.3f}"
    print()
    print(table(result, "path"))
    print(f"\nworst on the curve: {shown} at t = {lowest['t']:.3g} of {result.sizes['t']} positions")
    print(f"wrote {', '.join(written)}")


def _worst(one: xr.Dataset) -> dict[str, float]:
    """Return where a path is worst: its lowest accuracy, else its highest loss."""
    name = "accuracy" if "accuracy" in one else "loss"
    at = int(one.accuracy.values.argmin() if name == "accuracy" else one.loss.values.argmax())
    return {"t": float(one.t[at]), name: float(one[name][at])}


def _row(one: xr.Dataset, worst: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": str(one.alignment.item())}
    row |= {name: one[name].values.tolist() for name in ("loss", "accuracy") if name in one}
    barriers = {
        name: {str(baseline): float(one[name].sel(baseline=baseline)) for baseline in one.baseline.values}
        for name in ("loss_barrier", "error_barrier")
        if name in one
    }
    return {**row, **barriers, "worst": worst}
