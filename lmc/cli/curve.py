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
    lr: float = 1e-3,
    batch_size: int = 128,
    points: int = 25,
    results: Path | None = None,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Train a curve of low loss between two checkpoints, and measure it beside the straight line.

    The ends stay as they are (align B first to see what symmetries leave over). Where the network has BatchNorm, its
    statistics are reset on training data at every position of both paths.

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
        bezier (the default) or polygonal.
    bends
        Points that define the curve, the ends included.
    steps
        Training steps.
    lr
        Learning rate at the start.
    batch_size
        Examples in a step.
    points
        Positions that are measured.
    results
        NetCDF file to write; curve.nc, or the next free number, by default.
    """
    from lmc import pipeline, plotting, schema

    common.start()
    if (along is None) == (output is None):
        raise UsageError("Either train a curve and write it (-o curve.safetensors), or measure one (--along FILE).")
    results = results or free_name("curve", ".nc")
    check_writable(results, ".nc", (a, b))
    if output is not None:
        check_writable(output, ".safetensors", (a, b))
    first, second = common.open(a), common.open(b)
    measured = pipeline.data_for(first, data, split=common.split, data_dir=common.data_dir)
    shape = common.shape or measured.input_shape
    sizes = {"mapping": common.map, "input_shape": shape, "num_classes": measured.num_classes}
    pair = pipeline.load_pair(first, second, model=model, **sizes)
    common.note("A", describe_model(pair.a))
    training = _training_data(measured, common)
    if along is not None:
        path = pipeline.load_curve(along, pair.a.architecture.module, kind)
        pipeline.require_ends(path, pair.a.state, pair.b.state, str(along))
        settings: dict[str, Any] = {"curve_source": str(along)}
    else:
        options = {"kind": kind or "bezier", "bends": bends, "steps": steps, "lr": lr, "batch_size": batch_size}
        path, settings = _train(pair, training, options, common)
        assert output is not None
        pipeline.save_curve(path, output, {"model": pair.a.architecture.reference, **settings})
    attrs = {**pair.attrs(), **settings, "command": shlex.join(["lmc", *sys.argv[1:]])}
    result = pipeline.measure_curve(
        pair.a.architecture.module,
        path,
        measured,
        training=training,
        points=points,
        seed=common.seed,
        device=common.device,
        dtype=common.torch_dtype,
        attrs=attrs,
        progress=common.progress,
    )
    schema.write(result, results)
    figure = results.with_suffix(".png")
    plotting.save_figure(plotting.plot_barrier(result).figure, figure)
    _tell(result, [str(f) for f in (output, results, figure) if f is not None], common)


def _train(
    pair: Pair, training: AbstractData, options: dict[str, Any], common: Common
) -> tuple[AbstractCurve, dict[str, Any]]:
    from lmc.training import train_curve

    module = pair.a.architecture.module
    places = {"seed": common.seed, "device": common.device, "progress": common.progress}
    result = train_curve(module, pair.a.state, pair.b.state, training, **options, **places)
    return result.path, {f"curve_{key}": value for key, value in result.settings.items()}


def _training_data(measured: AbstractData, common: Common) -> AbstractData:
    from lmc.datasets import open_data

    examples = open_data(measured.reference, "train", common.data_dir)
    common.note(
        "training", "\n".join([f"{examples.name} {examples.split}, {examples.size:,} examples", *examples.notes])
    )
    return examples


def _tell(result: xr.Dataset, written: list[str], common: Common) -> None:
    from lmc.cli.barrier import table

    curve = result.sel(alignment="curve")
    worst = "loss" if "accuracy" not in result else "accuracy"
    index = int(curve.accuracy.argmin() if worst == "accuracy" else curve.loss.argmax())
    at, value = float(curve.t[index]), float(curve[worst][index])
    if common.json:
        rows = {
            str(name): float(result.loss_barrier.sel(alignment=name, baseline="chord"))
            for name in ("straight", "curve")
        }
        print(json.dumps({"loss_barrier": rows, "worst": {"t": at, worst: value}, "written": written}))
        return
    print()
    print(table(result))
    shown = f"accuracy {100 * value:.2f}%" if worst == "accuracy" else f"loss {value:.3f}"
    print(f"\nworst on the curve: {shown} at t = {at:.3g}\nwrote {', '.join(written)}")
