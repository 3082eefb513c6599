"""Is the barrier below a tolerance? As few examples at as few positions as it takes to be sure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lmc import schema
from lmc._errors import DatasetError, UsageError, unknown
from lmc.barriers.blocks import Blocks, KeptPath
from lmc.barriers.describe import check_options, describe_batchnorm, describe_data, one_or_all, set_labels
from lmc.barriers.grid import check_grid, make_grid
from lmc.barriers.repaired import describe_repair, refuse_both, repaired_paths
from lmc.barriers.sequential import Answer, Question, decide
from lmc.datasets import AbstractData, Data, as_data
from lmc.evaluation import Normalizations
from lmc.evaluation.evaluate import Progress
from lmc.evaluation.losses import Loss, loss_name
from lmc.interpolation import AbstractPath, RecalibratedPath, batchnorm_layers

METRICS = ("loss", "error")
TARGETS = ("set", "distribution")


def measure_adaptive(
    module: nn.Module,
    paths: AbstractPath | Mapping[str, AbstractPath],
    data: Any,
    *,
    tolerance: float = 0.02,
    metric: str = "loss",
    baseline: str = "chord",
    target: str = "set",
    points: int = 25,
    t: ArrayLike | None = None,
    loss: Loss | None = None,
    normalizations: Normalizations | None = None,
    recalibrate: Any = None,
    repair: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
    objectives: Mapping[str, float] | None = None,
    seconds_align: Mapping[str, float] | None = None,
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    attrs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Decide whether barriers are below a tolerance, with no more evaluations than it takes.

    Examples are added in blocks, in random order, and positions where the maximum can still be, until each path has
    its verdict. Bounds hold at all looks together, and at all positions that were looked at; docs/intervals.md has
    how, how often verdicts are right, and what they cost. The verdict is about the maximum over the given positions.

    Parameters
    ----------
    module : nn.Module
        The network; copied, never changed, evaluated in eval mode.
    paths : AbstractPath, or mapping of names to them
        One for each alignment; a single path is named "path". All see the same order of examples.
    data : Data, or arrays ``(x, y)``
        The examples, held in memory.
    tolerance : float
        What the barrier is compared with, in the units of the metric.
    metric : {"loss", "error"}
        Whose barrier.
    baseline : {"chord", "mean"}
        What it is measured against.
    target : {"set", "distribution"}
        Whose barrier: that of these examples, which all of them would show exactly, or that of what they were drawn
        from, which may stay undecided.
    points : int
        Number of equally spaced positions of the finest grid; 1/2 is added where it is not one of them.
    t : array, in [0, 1], optional
        Positions of your own in place of ``points``; both ends must be there, 1/2 is added.
    confidence : float, in (0, 1)
        How sure a verdict and its interval are.
    seed : int
        Of the order of the examples.
    loss, normalizations, recalibrate, repair, objectives, seconds_align, batch_size, device, dtype, attrs, progress
        As in :func:`lmc.measure_barrier`.

    Returns
    -------
    xarray.Dataset
        Kind "adaptive" of the schema.

    Raises
    ------
    DatasetError
        If the data are streamed: what comes in a fixed order is no random sample of it.
    UsageError, GridError, SchemaError, MismatchError, InputError
        As in :func:`lmc.measure_barrier`.
    """
    refuse_both(recalibrate, repair)
    named = {"path": paths} if isinstance(paths, AbstractPath) else dict(paths)
    grid = make_grid(points) if t is None else check_grid(t)
    check_options(named, confidence, 1, objectives, seconds_align)
    data = check_adaptive(as_data(data), tolerance=tolerance, metric=metric, baseline=baseline, target=target)
    train, repaired = (None if given is None else as_data(given, split="train") for given in (recalibrate, repair))
    pair = normalizations or (data.normalization, data.normalization)
    places = {"normalizations": normalizations, "device": device, "dtype": dtype}
    if repaired is not None:
        named = repaired_paths(module, named, repaired, **places)
    protocol = describe_repair(module, named)
    if protocol:
        named = {name: KeptPath(path) for name, path in named.items()}
    if train is not None and batchnorm_layers(module):
        named = {name: KeptPath(RecalibratedPath(path, module, train, **places)) for name, path in named.items()}
    stored = {
        **(attrs or {}),
        "tolerance": tolerance,
        "metric": metric,
        "baseline": baseline,
        "target": target,
        "confidence": confidence,
        "seed": seed,
        "bounds": "intersection bounds over positions, error spent evenly over looks, two imagined examples",
        "grid": f"{points} points, equally spaced" if t is None else "given",
        "interpolation": one_or_all({name: path.description for name, path in named.items()}),
        "batchnorm": describe_batchnorm(module, train),
        **protocol,
        **describe_data(data, pair),
        "loss_function": loss_name(loss, data.task),
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
    }
    schema.check_attrs(schema.sanitize_attrs(stored))
    limits = (0.0, 1.0) if metric == "error" else None
    question = Question(grid, data.size, tolerance, confidence, baseline, target == "set", limits)
    order = np.random.default_rng(seed).permutation(data.size)
    options = {"loss": loss, "batch_size": batch_size, "device": device, "dtype": dtype, "normalizations": pair}
    runs, answers = {}, {}
    with _bar(progress, len(named)) as bar:
        for name, path in named.items():
            runs[name] = Blocks(module, path, data, grid, order, metric, options)
            answers[name] = decide(question, runs[name].read)
            bar.update(1)
    dataset = _dataset(question, answers, runs, order, data.split)
    for variable, values in (("objective", objectives), ("seconds_align", seconds_align)):
        if values:
            dataset[variable] = ("alignment", [float(values.get(name, np.nan)) for name in named])
    if metric == "error":
        for variable in ("rise", "rise_ci", "barrier", "barrier_ci"):
            dataset[variable].attrs["units"] = "1"
    looks = {name: [asdict(look) for look in answer.looks] for name, answer in answers.items()}
    set_labels(dataset, confidence, loss_name(loss, data.task), schema.ADAPTIVE)
    return schema.annotate(dataset, "adaptive", {**stored, "looks": _finite(looks), "data_digest": data.digest})


def check_adaptive(
    data: AbstractData,
    *,
    tolerance: float = 0.02,
    metric: str = "loss",
    baseline: str = "chord",
    target: str = "set",
    **_: Any,
) -> Data:
    """Return the data, in memory, unless what is asked of them makes no sense; further settings are not looked at.

    Raises
    ------
    UsageError
        If the tolerance, or a name, is none.
    DatasetError
        If the data are streamed.
    """
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise UsageError(f"tolerance must be a positive number (0.02, say), got {tolerance}: no barrier is below 0.")
    names = {"metric": (metric, METRICS), "baseline": (baseline, schema.BASELINES), "target": (target, TARGETS)}
    for kind, (value, known) in names.items():
        if value not in known:
            raise unknown(kind, value, known)
    if not isinstance(data, Data):
        raise DatasetError(
            f"{data.name!r} is streamed: its first batches are no random sample of it, and a verdict from them would "
            "be about them alone. Pass arrays (x, y), or measure all of it (no --adaptive, lmc.measure_barrier)."
        )
    if metric == "error" and data.task == "regression":
        raise UsageError("A regression has no error rate: metric='loss' is its barrier.")
    return data


class _Silent:
    def update(self, n: int = 1) -> None: ...


def _bar(progress: Progress | None, total: int) -> AbstractContextManager[Any]:
    return progress(total=total, desc="deciding") if progress else nullcontext(_Silent())


def _finite(looks: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return the looks as JSON, which has no infinity: null."""
    return json.dumps(looks).replace("Infinity", "null")


def _dataset(
    question: Question,
    answers: Mapping[str, Answer],
    runs: Mapping[str, Blocks],
    order: NDArray[np.int64],
    split: str,
) -> xr.Dataset:
    found = list(answers.values())
    kept = {"loss": [run.loss for run in runs.values()], "correct": [run.correct for run in runs.values()]}
    path, values = ("alignment", "t"), list(runs.values())
    variables: dict[str, Any] = {
        "verdict": ("alignment", np.array([answer.verdict for answer in found], dtype=str)),
        "barrier": ("alignment", [answer.barrier for answer in found]),
        "barrier_ci": (("alignment", "bound"), [answer.interval for answer in found]),
        "rise": (path, np.stack([answer.rise for answer in found])),
        "rise_ci": ((*path, "bound"), np.stack([answer.bounds for answer in found])),
        "examples": (path, np.stack([answer.examples for answer in found])),
        "evaluations": ("alignment", [int(answer.examples.sum()) for answer in found]),
        "evaluations_full": ((), question.size * len(question.t)),
        "loss": (path, np.stack([run.means(run.loss) for run in values])),
        "evaluation_loss": (
            "evaluation",
            np.concatenate([r.ragged(k) for r, k in zip(values, kept["loss"], strict=True)]),
        ),
        "seconds_evaluate": ("alignment", [run.seconds for run in values]),
    }
    if all(kept["correct"]):
        ragged = [r.ragged(k) for r, k in zip(values, kept["correct"], strict=True)]
        variables["accuracy"] = (path, np.stack([run.means(run.correct) for run in values]))
        variables["evaluation_correct"] = ("evaluation", np.concatenate(ragged))
    most = max(int(answer.examples.max()) for answer in found)
    return xr.Dataset(
        variables,
        coords={
            "alignment": list(answers),
            "t": question.t,
            "example": order[:most],
            "bound": list(schema.BOUNDS),
            "split": split,
        },
    )
