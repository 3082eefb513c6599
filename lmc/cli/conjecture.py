"""``lmc conjecture A B C ...``: a verdict on a set of checkpoints."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from lmc._errors import UsageError
from lmc.cli.common import ALIGNMENT, MEASURED, WHAT, WRITTEN, Common, check_writable, describe_model
from lmc.cli.loading import prove
from lmc.cli.resuming import choose_output

if TYPE_CHECKING:
    import xarray as xr

_SECONDS = {"s": 1, "m": 60, "h": 3600, "": 1}


def conjecture(
    checkpoints: Annotated[list[Path], Parameter(consume_multiple=True)],
    /,
    *,
    model: Annotated[str | None, Parameter(group=WHAT)] = None,
    data: Annotated[str | None, Parameter(group=WHAT)] = None,
    align: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, group=ALIGNMENT)] = None,
    align_data: Annotated[str | None, Parameter(group=ALIGNMENT)] = None,
    spec: Annotated[Path | None, Parameter(group=ALIGNMENT)] = None,
    tolerance: Annotated[float, Parameter(group=MEASURED)] = 0.02,
    metric: Annotated[Literal["error", "loss"] | None, Parameter(group=MEASURED)] = None,
    confidence: Annotated[float, Parameter(group=MEASURED)] = 0.95,
    points: Annotated[int, Parameter(group=MEASURED)] = 25,
    budget: Annotated[str | None, Parameter(group=MEASURED)] = None,
    controls: Annotated[bool, Parameter(group=MEASURED)] = True,
    recalibrate: Annotated[bool, Parameter(negative="", group=MEASURED)] = False,
    output: Annotated[Path | None, Parameter(alias="-o", group=WRITTEN)] = None,
    common: Common = Common(),  # noqa: B008
) -> None:
    """Test the permutation conjecture on a set of checkpoints.

    Every pair is tried with a ladder of alignments, cheapest first, until one connects it; the method is chosen on one
    half of the examples, its barrier reported on the other, and claims over all pairs are corrected together. Controls
    tell whether the ladder finds a permutation that is known to be there, and whether a random one is told from it.

    For example:

        lmc conjecture run1.pt run2.pt run3.pt --data mnist -o verdict.nc
        lmc conjecture runs/*.safetensors --tolerance 0.02 --budget 10m
        lmc conjecture a.pt b.pt --align none --align "weights?restarts=16" --align sinkhorn

    Parameters
    ----------
    checkpoints
        Two or more checkpoints of one network. Those that do not solve the task, or are of one run with a better one,
        are set aside by name.
    model
        Network: a name, file.py:Class or package.module:factory. Recognised from the checkpoints where it can be.
    data
        Dataset, as for lmc barrier. What the checkpoints were trained on by default, where they say so.
    align
        The ladder, cheapest first: none, weights?restarts=4&scale=plain and activations by default.
    align_data
        Dataset whose training split alignments look at; by default the training split of the measured data.
    spec
        TOML file of permutation groups, as for lmc barrier.
    tolerance
        What counts as no barrier: a share of the examples for the error, nats for the loss.
    metric
        Whose barrier decides; the error where there is one.
    confidence
        Of all claims together.
    points
        Positions along each path.
    budget
        Time for it all (90s, 10m, 2h): no further method is begun that would not end in time.
    controls
        Whether to run controls.
    recalibrate
        Reset BatchNorm statistics on training data at every position, the ends included.
    output
        NetCDF file to write; conjecture.nc, or the next free number, by default.
    """
    from lmc import pipeline, schema
    from lmc.conjectures import LADDER
    from lmc.conjectures import conjecture as test
    from lmc.datasets import open_data

    common.start()
    seconds = None if budget is None else read_seconds(budget)
    output = output or choose_output("conjecture", ".nc", False)
    check_writable(output, ".nc", checkpoints)
    methods = pipeline.resolve_alignments(list(align or LADDER), common.seed)
    loaded = pipeline.load_set(
        [common.open(path) for path in checkpoints],
        model=model,
        data=data,
        mapping=common.map,
        split=common.split,
        data_dir=common.data_dir,
        input_shape=common.shape,
    )
    try:
        aligning = pipeline.alignment_data(methods.values(), align_data, loaded.data, data_dir=common.data_dir)
    except UsageError:
        if align or align_data:
            raise
        aligning = None  # of the usual ladder, the methods that need no examples are left
        common.note("ladder", "without activations: all examples are measured on, name others by --align-data")
    first = next(iter(loaded.models.values()))
    common.note("network", describe_model(first).partition("   ")[2])
    common.note(
        "models", "\n".join([*loaded.models, *(f"{name}: refused, {why}" for name, why in loaded.refused.items())])
    )
    common.note("data", f"{loaded.data.name} {loaded.data.split}, {loaded.data.size:,} examples")
    proof = prove(first, spec, common)
    settings: dict[str, Any] = {"device": common.device, "dtype": common.torch_dtype}
    if recalibrate:
        settings["recalibrate"] = open_data(loaded.data.reference, "train", common.data_dir)
    result = test(
        first.architecture.module,
        {name: one.state for name, one in loaded.models.items()},
        loaded.data,
        ladder=align or None,
        align_data=aligning,
        proof=proof,
        tolerance=tolerance,
        metric=metric,
        confidence=confidence,
        points=points,
        budget=seconds,
        controls=controls,
        seed=common.seed,
        refused=loaded.refused,
        attrs={**loaded.attrs(), "command": shlex.join(["lmc", *sys.argv[1:]])},
        say=lambda text: common.note("", text),
        **settings,
    )
    schema.write(result, output)
    if common.json:
        print(json.dumps(as_json(result, output)))
    else:
        print("\n".join(["", table(result), "", *told(result), "", f"wrote {output} (xarray.open_dataset)"]))


def read_seconds(text: str) -> float:
    """Return a time such as 90s, 10m or 2h in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise UsageError(f"--budget {text!r}: write a time such as 90s, 10m or 2h.")
    return float(match[1]) * _SECONDS[match[2]]


def table(result: xr.Dataset) -> str:
    """Return a line for each pair."""
    scale, digits = (100, 2) if result.attrs["metric"] == "error" else (1, 3)
    unit = "%" if scale == 100 else ""
    names = [(str(a), str(b)) for a, b in zip(result.a.values, result.b.values, strict=True)]
    wide = max(len(f"{a} - {b}") for a, b in names)
    by = max(len(str(one)) for one in [*result.method.values, "by"])
    lines = [f"{'pair':<{wide}}  {'barrier':<24}{'by':<{by}}  {'p':<8}verdict"]
    for pair, (a, b) in enumerate(names):
        method = str(result.method.values[pair])
        row = result.isel(pair=pair)
        if method in result.alignment.values:
            row = row.sel(alignment=method)
            low, high = scale * row.barrier_ci.values
            shown = f"{scale * float(row.barrier):.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"
        else:
            shown = ""
        reason = f": {row.why.item()}" if "undecided" in str(row.verdict.item()) else ""
        lines.append(
            f"{f'{a} - {b}':<{wide}}  {shown:<24}{method:<{by}}  {row.p.item():<8.2g}{row.verdict.item()}{reason}"
        )
    return "\n".join(lines)


def told(result: xr.Dataset) -> list[str]:
    """Return the verdict on the set, and what has to be known with it."""
    lines = [f"verdict   {result.attrs['summary']}"]
    if "fraction_connected_ci" in result:
        low, high = result.fraction_connected_ci.values
        share = result.fraction_connected.item()
        shares = f"{100 * share:.0f}% of pairs connected [{100 * low:.0f}, {100 * high:.0f}]"
        lines.append(f"set       {shares} over the draw of models")
    if "strong_verdict" in result:
        strong = int((result.strong_verdict == "connected").sum())
        lines.append(f"strong    {strong} of {result.sizes['pair']} connected with one permutation for each model")
    lines += [f"caveat    {one}" for one in json.loads(result.attrs["caveats"])]
    return lines


def as_json(result: xr.Dataset, output: Path) -> dict[str, Any]:
    """Return the result without its curves."""

    def number(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    pairs = [
        {
            **{name: str(result[name].values[i]) for name in ("a", "b", "verdict", "method", "why")},
            "p": number(result.p.values[i]),
            "barriers": {
                str(m): {
                    "barrier": number(result.barrier.values[i, j]),
                    "interval": [number(x) for x in result.barrier_ci.values[i, j]],
                }
                for j, m in enumerate(result.alignment.values)
                if result.tried.values[i, j]
            },
        }
        for i in range(result.sizes["pair"])
    ]
    controls = [
        {"control": str(name), "passed": bool(passed), "message": str(message)}
        for name, passed, message in zip(
            result.control.values, result.control_passed.values, result.control_message.values, strict=True
        )
    ]
    models = {str(m): str(s) for m, s in zip(result.model.values, result.model_status.values, strict=True)}
    return {
        "summary": result.attrs["summary"],
        "caveats": json.loads(result.attrs["caveats"]),
        "models": models,
        "pairs": pairs,
        "controls": controls,
        "written": [str(output)],
    }
