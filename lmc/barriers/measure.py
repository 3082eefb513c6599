"""The measurement: paths and data in, a labelled dataset out. State dicts arrive aligned; nothing is aligned here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import nn

from lmc import schema
from lmc._types import StateDict
from lmc.barriers.describe import (
    check_options,
    describe_batchnorm,
    describe_bootstrap,
    describe_data,
    one_or_all,
    set_labels,
)
from lmc.barriers.distance import weight_distance
from lmc.barriers.further import check_further, measure_further
from lmc.barriers.grid import check_grid, make_grid
from lmc.barriers.intervals import barrier_interval, bootstrap_means, percentile_interval
from lmc.barriers.narrow import end_differences
from lmc.barriers.parts import evaluate_paths
from lmc.barriers.quantities import broken_share, class_barriers, end_curvature, example_barrier
from lmc.barriers.repaired import describe_repair, refuse_both, repair_variables, repaired_paths
from lmc.barriers.scalars import area_above_chord, rises
from lmc.barriers.setting import Setting
from lmc.datasets import as_data
from lmc.evaluation import Normalizations, PathEvaluation
from lmc.evaluation.evaluate import Progress
from lmc.evaluation.losses import Loss, loss_name
from lmc.interpolation import AbstractPath, RecalibratedPath, batchnorm_layers
from lmc.units import WorkFolder


def measure_barrier(
    module: nn.Module,
    paths: AbstractPath | Mapping[str, AbstractPath],
    data: Any,
    *,
    points: int = 25,
    t: ArrayLike | None = None,
    loss: Loss | None = None,
    normalizations: Normalizations | None = None,
    recalibrate: Any = None,
    repair: Any = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    objectives: Mapping[str, float] | None = None,
    seconds_align: Mapping[str, float] | None = None,
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    memory: int = 2**30,
    also: Sequence[str] = (),
    work: WorkFolder | str | os.PathLike[str] | None = None,
    attrs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Measure loss and error along paths between two solutions, and their barriers.

    Every example is evaluated at every position of every path, and weighs the same. Barriers are taken against the
    chord of the ends and against their mean; intervals come from resampled examples, the same resamples at every
    position, for loss and error, and for every path, so that paths can be compared.

    Parameters
    ----------
    module : nn.Module
        The network; copied, never changed, evaluated in eval mode.
    paths : AbstractPath, or mapping of names to them
        One for each alignment; a single path is named "path".
    data : AbstractData, or whatever as_data takes
        The examples: arrays ``(x, y)``, a Dataset, an iterable of batches.
    points : int
        Number of equally spaced positions; 1/2 is added where it is not one of them.
    t : array, in [0, 1], optional
        Positions of your own in place of ``points``; both ends must be there, 1/2 is added.
    loss : callable, optional
        ``loss(outputs, targets)`` to one value for each example; by default the data's task decides.
    normalizations : pair of Normalization or None, optional
        Constants of A and of B; scale and shift of the raw input are interpolated along t.
    recalibrate : as data, optional
        Training data on which BatchNorm statistics are reset at every position, the ends included. Without BatchNorm
        it changes nothing, and the attribute ``batchnorm`` says so.
    repair : as data, optional
        Training data for REPAIR in place of that: at every position, units get the means and standard deviations of
        the ends', interpolated. Statistics and loss at the midpoint with and without it are in the result.
    confidence : float, in (0, 1)
        Nominal coverage of the intervals.
    resamples, seed : int
        Of the bootstrap over examples.
    objectives, seconds_align : mapping of path names to floats, optional
        What the alignment reached and took.
    batch_size, device, dtype, memory
        As in :func:`lmc.evaluation.evaluate_path`.
    also : sequence of str
        Quantities that cost further evaluations: ``disagreement``, ``top5``, ``closeness``, ``sharpness``.
    work : WorkFolder or path-like, optional
        Folder where parts of the work are kept as they are done, and found again: a call that was interrupted goes on
        there. The caller removes it. Streamed data are read once more, to tell which they are.
    attrs : mapping, optional
        Provenance to store; checked before anything is computed.
    progress : callable, optional
        Such as ``tqdm.tqdm``.

    Returns
    -------
    xarray.Dataset
        Kind "barrier" of the schema.

    Raises
    ------
    GridError
        If the positions do not define a barrier.
    UsageError
        If an option makes no sense.
    SchemaError
        If an attribute cannot be stored.
    MismatchError, DatasetError, InputError
        As in :func:`lmc.evaluation.evaluate_path`.
    """
    refuse_both(recalibrate, repair)
    named = {"path": paths} if isinstance(paths, AbstractPath) else dict(paths)
    grid = make_grid(points) if t is None else check_grid(t)
    check_options(named, confidence, resamples, objectives, seconds_align)
    check_further(also)
    folder = WorkFolder.of(work)
    data = as_data(data)
    check_further(also, data.task)
    train, repaired = (None if given is None else as_data(given, split="train") for given in (recalibrate, repair))
    ends = [path.ends for path in named.values()]  # before statistics are reset there, which costs passes over data
    pair = normalizations or (data.normalization, data.normalization)
    places = {"normalizations": normalizations, "device": device, "dtype": dtype}
    if repaired is not None:
        named = repaired_paths(module, named, repaired, **places)
    if train is not None and batchnorm_layers(module):
        named = {name: RecalibratedPath(path, module, train, **places) for name, path in named.items()}
    stored = {
        **(attrs or {}),
        "grid": f"{points} points, equally spaced" if t is None else "given",
        "interpolation": one_or_all({name: path.description for name, path in named.items()}),
        "batchnorm": describe_batchnorm(module, train),
        **describe_repair(module, named),
        **describe_bootstrap(confidence, resamples, seed),
        **describe_data(data, pair),
        "loss_function": loss_name(loss, data.task),
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
    }
    schema.check_attrs(schema.sanitize_attrs(stored))
    setting = Setting(module, data, grid, pair, loss, device, dtype, batch_size, memory)
    statistics = sum(given.size or 0 for given in (train, repaired) if given is not None)
    evaluations = evaluate_paths(setting, named, work=folder, extra_examples=statistics, progress=progress)
    curves = _Curves.stack(evaluations, grid)
    shown = {"normalizations": pair, **{"loss": loss, "batch_size": batch_size, "device": device, "dtype": dtype}}
    dataset = xr.Dataset(
        {
            **curves.variables(resamples, seed, confidence),
            **_beside(curves, ends, setting),
            **measure_further(also, named, setting, folder),
            **_timings(named, evaluations, objectives, seconds_align),
            **end_differences(setting, named, evaluations),
            **repair_variables(module, named, data, **shown),
        },
        coords={
            "alignment": list(named),
            "t": grid,
            "example": np.arange(curves.loss.shape[-1]),
            "baseline": list(schema.BASELINES),
            "bound": list(schema.BOUNDS),
            "end": list(schema.ENDS),
            "split": data.split,
        },
    )
    if "disagreement" in dataset:
        dataset = dataset.assign_coords(comparison=list(schema.COMPARISONS))
    set_labels(dataset, confidence, loss_name(loss, data.task))
    how = one_or_all({name: evaluation.how for name, evaluation in zip(named, evaluations, strict=True)})
    return schema.annotate(dataset, "barrier", {**stored, "data_digest": data.digest, "evaluation": how})


@dataclass(frozen=True)
class _Curves:
    """Values of every example, shape (alignment, t, example)."""

    t: NDArray[np.float64]
    loss: NDArray[np.float32]
    correct: NDArray[Any] | None

    @classmethod
    def stack(cls, evaluations: list[PathEvaluation], t: NDArray[np.float64]) -> _Curves:
        correct = [e.example_correct for e in evaluations if e.example_correct is not None]
        return cls(t, np.stack([e.example_loss for e in evaluations]), np.stack(correct) if correct else None)

    def variables(self, resamples: int, seed: int, confidence: float) -> dict[str, Any]:
        """Return means, barriers and intervals, all from the same resamples."""
        drawn = np.stack([self._drawn(row, resamples, seed) for row in range(len(self.loss))], axis=2)
        loss = self.loss.mean(axis=-1, dtype=np.float64)
        found = {
            "example_loss": (("alignment", "t", "example"), self.loss),
            **_mean("loss", loss, drawn[:, 0], confidence),
            **_barriers("loss_barrier", self.loss, drawn[:, 0], self.t, confidence, np.inf),
            "loss_area": ("alignment", area_above_chord(loss, self.t)),
        }
        if self.correct is None:
            return found
        accuracy = self.correct.mean(axis=-1, dtype=np.float64)
        return found | {
            "example_correct": (("alignment", "t", "example"), self.correct),
            **_mean("accuracy", accuracy, drawn[:, 1], confidence),
            **_barriers("error_barrier", 1.0 - self.correct, 1 - drawn[:, 1], self.t, confidence, 1.0),
        }

    def _drawn(self, row: int, resamples: int, seed: int) -> NDArray[np.float64]:
        """Resample one path, shape (resample, kind, t): its interval must not depend on the paths beside it.

        In one product for all of them it would, in the last bits, since the kernel depends on the number of columns.
        """
        kinds = [self.loss[row]] if self.correct is None else [self.loss[row], self.correct[row]]
        drawn = bootstrap_means(np.concatenate(kinds).T, resamples=resamples, seed=seed)
        return drawn.reshape(resamples, len(kinds), -1)


def _beside(curves: _Curves, ends: Sequence[tuple[StateDict, StateDict]], setting: Setting) -> dict[str, Any]:
    """Return what the examples and the weights tell beside the barriers, at no further evaluation."""
    loss, t = curves.loss, curves.t
    apart = [weight_distance(setting.module, a, b) for a, b in ends]
    found: dict[str, Any] = {
        "loss_curvature": (("alignment", "end"), end_curvature(loss.mean(axis=-1, dtype=np.float64), t)),
        "weight_distance": ("alignment", [distance for distance, _ in apart]),
        "weight_cosine": ("alignment", [cosine for _, cosine in apart]),
        "example_barrier": (("alignment", "example"), np.stack([example_barrier(row, t) for row in loss])),
    }
    if setting.data.task != "classification" or curves.correct is None:
        return found
    found["broken"] = ("alignment", broken_share(curves.correct, t))
    if not setting.data.in_memory:  # targets of streamed data would cost a pass
        return found
    targets = np.concatenate([targets.numpy() for _, targets in setting.data.batches(len(loss[0, 0]))])
    classes, barriers = class_barriers(loss, targets, t)
    errors = class_barriers(~curves.correct, targets, t)[1]
    return found | {
        "example_target": ("example", targets),
        "class": classes,
        "class_loss_barrier": (("alignment", "class"), barriers),
        "class_error_barrier": (("alignment", "class"), errors),
    }


def _mean(
    name: str, curve: NDArray[np.float64], drawn: NDArray[np.float64], confidence: float
) -> dict[str, tuple[tuple[str, ...], NDArray[np.float64]]]:
    dims = ("alignment", "t")
    return {name: (dims, curve), f"{name}_ci": ((*dims, "bound"), percentile_interval(drawn, confidence))}


def _barriers(
    name: str,
    examples: NDArray[Any],
    drawn: NDArray[np.float64],
    t: NDArray[np.float64],
    confidence: float,
    upper: float,
) -> dict[str, tuple[tuple[str, ...], NDArray[np.float64]]]:
    """Return the barriers of values of shape (alignment, t, example), and their intervals."""
    value = np.empty((len(examples), len(schema.BASELINES)))
    interval = np.empty((*value.shape, 2))
    for row, values in enumerate(examples):
        mean = values.mean(axis=-1, dtype=np.float64)
        for column, baseline in enumerate(schema.BASELINES):
            value[row, column] = rises(mean, t, baseline).max()
            apart, resampled = rises(values.T, t, baseline), rises(drawn[:, row], t, baseline)
            interval[row, column] = barrier_interval(apart, resampled, confidence, upper=upper)
    dims = ("alignment", "baseline")
    return {name: (dims, value), f"{name}_ci": ((*dims, "bound"), interval)}


def _timings(
    named: Mapping[str, AbstractPath],
    evaluations: list[PathEvaluation],
    objectives: Mapping[str, float] | None,
    seconds_align: Mapping[str, float] | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"seconds_evaluate": ("alignment", [evaluation.seconds for evaluation in evaluations])}
    for variable, values in (("objective", objectives), ("seconds_align", seconds_align)):
        if values:
            found[variable] = ("alignment", [float(values.get(name, np.nan)) for name in named])
    return found
