"""The basins of a plane, measured: loss and error on a grid, components below a level, saddles between modes."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from lmc import schema
from lmc._errors import UsageError, unknown
from lmc.barriers.describe import NATS, describe_batchnorm
from lmc.barriers.grid_values import GridPoints, GridValues, evaluate_grid
from lmc.barriers.intervals import percentile_interval
from lmc.barriers.plane_grid import MARGIN, cell_areas, make_plane_grid, nodes_of
from lmc.barriers.sublevel import components, escape_height, resampled_saddles, saddle_heights
from lmc.datasets import as_data
from lmc.evaluation.evaluate import Progress
from lmc.evaluation.losses import Loss, loss_name
from lmc.interpolation import Plane
from lmc.units import WorkFolder

_ROUNDING = 1e-5
"""Share of a saddle's height by which saddles differ that are one: an aligned copy computes in another order."""


def measure_basin(
    module: nn.Module,
    plane: Plane,
    data: Any,
    *,
    resolution: int = 25,
    margin: float | None = None,
    levels: Sequence[float] | None = None,
    neighbours: int = 4,
    copies: Mapping[str, str] | None = None,
    loss: Loss | None = None,
    recalibrate: Any = None,
    examples: bool = False,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    memory: int = 2**30,
    attrs: Mapping[str, Any] | None = None,
    work: WorkFolder | str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Measure loss and error on a plane, the basins of its modes, and the saddles between them.

    Every mode is a point of the grid, exactly. Intervals of means are normal ones; those of saddles come from resampled
    examples, the same at every point, so that a saddle is found anew in each.

    Parameters
    ----------
    module : nn.Module
        The network; copied, never changed, evaluated in eval mode.
    plane : Plane
        Where to measure; its modes are those between which saddles are sought.
    data : AbstractData, or whatever as_data takes
        The examples.
    resolution, margin
        As in :func:`lmc.barriers.make_plane_grid`.
    levels : sequence of float, optional
        Levels of the loss (nats) at which components are told apart. By default those that lie between two merges of
        basins; for a single mode, one between its loss and that at which its basin reaches the border.
    neighbours : {4, 8}
        What hangs together on the grid: along the axes, or along diagonals too.
    copies : mapping of str to str, optional
        Modes that are aligned copies, to the mode each is a copy of.
    loss : callable, optional
        ``loss(outputs, targets)`` to one value for each example; by default the data's task decides.
    recalibrate : as data, optional
        Training data on which BatchNorm statistics are reset at every point, the modes included: one pass for each.
    examples : bool
        Keep the loss of every example at every point; means alone are kept otherwise.
    confidence : float, in (0, 1)
        Nominal coverage of the intervals.
    resamples, seed : int
        Of the bootstrap over examples.
    batch_size, device, dtype
        As in :func:`lmc.evaluation.evaluate_path`.
    memory : int, in bytes
        Room for the values of examples at the points that are evaluated together; ``examples`` keeps them all besides.
    attrs : mapping, optional
        Provenance to store; checked before anything is computed.
    work : WorkFolder or path-like, optional
        Folder that keeps the grid in parts as they are measured; what it holds already is not measured again.
    progress : callable, optional
        Such as ``tqdm.tqdm``.

    Returns
    -------
    xarray.Dataset
        Kind "basin" of the schema.

    Raises
    ------
    GridError, UsageError
        If the grid or an option makes no sense.
    SchemaError
        If an attribute cannot be stored.
    MismatchError, DatasetError, InputError
        As in :func:`lmc.evaluation.evaluate_path`; an InputError says where on the plane.

    References
    ----------
    .. [1] Garipov et al. Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs. NeurIPS 2018.
    .. [2] Draxler et al. Essentially No Barriers in Neural Network Energy Landscape. ICML 2018.
    """
    check_basin(
        resolution=resolution,
        margin=margin,
        levels=levels,
        neighbours=neighbours,
        confidence=confidence,
        resamples=resamples,
    )
    for name in (*(copies or {}), *(copies or {}).values()):
        if name not in plane.names:
            raise unknown("mode", name, plane.names)
    u, v = make_plane_grid(plane.coordinates, resolution=resolution, margin=margin)
    nodes = nodes_of(plane.coordinates, u, v)
    data, train = as_data(data), None if recalibrate is None else as_data(recalibrate, split="train")
    stored = {
        **(attrs or {}),
        "grid": f"{u.size} x {v.size} points, every mode on it",
        "margin": (MARGIN if len(plane.names) > 1 else 1.0) if margin is None else margin,
        "neighbours": neighbours,
        "plane": plane.description,
        "batchnorm": describe_batchnorm(module, train),
        "confidence": confidence,
        "bootstrap": "of saddles, over examples, the same at every point; percentiles with their reflection",
        "bootstrap_resamples": resamples,
        "bootstrap_seed": seed,
        "data": data.reference,
        "data_name": data.name,
        "task": data.task,
        "normalization": str(data.normalization or "none"),
        "loss_function": loss_name(loss, data.task),
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
    }
    schema.check_attrs(schema.sanitize_attrs(stored))
    points = GridPoints(module, plane, u, v, train, {"device": device, "dtype": dtype})
    options = {"loss": loss, "batch_size": batch_size, "device": device, "dtype": dtype}
    options["normalizations"] = (data.normalization, data.normalization)
    kept = {"work": WorkFolder.of(work), "progress": progress}
    bootstrap = {"resamples": resamples, "seed": seed, "confidence": confidence}
    values = evaluate_grid(points, data, options, **bootstrap, **kept, memory=memory, examples=examples)
    found = values.variables((u.size, v.size), examples)
    found |= _modes(found, nodes, plane, copies or {})
    found |= _saddles(values, nodes, (u.size, v.size), neighbours, confidence)
    field = found["loss"][1]
    escapes = np.array([escape_height(field, node, neighbours=neighbours) for node in nodes])
    chosen = _default_levels(found["saddle_loss"][1], escapes) if levels is None else sorted(set(map(float, levels)))
    found |= {"escape_loss": ("mode", escapes), **_components(field, nodes, cell_areas(u, v), chosen, neighbours)}
    names = list(plane.names)
    coords = {"u": u, "v": v, "mode": names, "other": names, "level": chosen, "bound": list(schema.BOUNDS)}
    if examples:
        coords["example"] = np.arange(values.size)
    dataset = xr.Dataset(found, coords={**coords, "split": data.split})
    _label(dataset, plane, confidence, loss_name(loss, data.task))
    return schema.annotate(dataset, "basin", {**stored, "data_digest": data.digest})


def _modes(found: Mapping[str, Any], nodes: NDArray[Any], plane: Plane, copies: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of each mode: where it lies, its loss and accuracy, what it is a copy of."""
    places = {f"mode_{axis}": ("mode", plane.coordinates[:, k]) for k, axis in enumerate(("u", "v"))}
    means = {f"mode_{n}": ("mode", found[n][1][nodes[:, 0], nodes[:, 1]]) for n in ("loss", "accuracy") if n in found}
    originals = np.array([copies.get(name, "") for name in plane.names], dtype=str)
    return {**places, **means, "mode_copy_of": ("mode", originals)}


def _saddles(
    values: GridValues, nodes: NDArray[Any], shape: tuple[int, int], neighbours: int, confidence: float
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, row in (("saddle_loss", 0), ("saddle_error", 1)):
        if row < len(values.mean):
            mean, drawn = values.mean[row], values.drawn[row]
            heights, rows = (1 - mean, 1 - drawn) if row else (mean, drawn)
            saddle = saddle_heights(heights.reshape(shape), nodes, neighbours=neighbours)
            resampled = resampled_saddles(rows, nodes, shape, neighbours=neighbours)
            low, high = np.moveaxis(percentile_interval(resampled, confidence), -1, 0)
            # As for barriers: an extreme of noisy values is biased, in the resamples once more.
            interval = np.stack([np.minimum(low, 2 * saddle - high), np.maximum(high, 2 * saddle - low)], axis=-1)
            interval = interval.clip(min(0.0, heights.min()), 1.0 if row else np.inf)
            found |= {name: (("mode", "other"), saddle), f"{name}_ci": (("mode", "other", "bound"), interval)}
    return found


def _default_levels(saddles: NDArray[np.float64], escapes: NDArray[np.float64]) -> list[float]:
    """Return a level between every two successive merges of basins, where they differ."""
    if len(saddles) == 1:
        return [_between(float(saddles[0, 0]), float(escapes[0]))]
    merges = sorted(set(saddles[~np.eye(len(saddles), dtype=bool)].tolist()))
    apart = [low for low, high in itertools.pairwise(merges) if high - low > _ROUNDING * abs(high)] + merges[-1:]
    pairs = list(itertools.pairwise(apart)) or [(apart[0], apart[0])]
    return [_between(low, high) for low, high in pairs]


def _between(low: float, high: float) -> float:
    """Return a level from low on and below high, half-way on a logarithmic scale, in as few digits as it takes."""
    middle = math.sqrt(low * high) if low > 0 else (low + high) / 2
    rounded = (float(f"{middle:.{digits}g}") for digits in range(1, 18))
    return next((level for level in rounded if low <= level < high), low)


def _components(
    field: NDArray[np.float64], nodes: NDArray[Any], areas: NDArray[np.float64], levels: list[float], neighbours: int
) -> dict[str, Any]:
    labels = np.stack([components(field, level, neighbours=neighbours) for level in levels])
    own = labels[:, nodes[:, 0], nodes[:, 1]]
    border = np.ones(field.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    inside = (labels[:, None] == own[..., None, None]) & (own > 0)[..., None, None]
    return {
        "component": (("level", "u", "v"), labels),
        "mode_component": (("level", "mode"), own),
        "component_area": (("level", "mode"), (inside * areas).sum(axis=(-1, -2))),
        "component_open": (("level", "mode"), (inside & border).any(axis=(-1, -2))),
    }


def check_basin(
    *,
    resolution: int = 25,
    margin: float | None = None,
    levels: Sequence[float] | None = None,
    neighbours: int = 4,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> None:
    """Raise UsageError or GridError for settings of :func:`measure_basin` that make no sense, before any long work."""
    make_plane_grid(np.zeros((1, 2)), resolution=resolution, margin=margin)
    if levels is not None and (not len(levels) or not np.isfinite(np.asarray(levels, dtype=np.float64)).all()):
        raise UsageError(f"levels are finite values of the loss, one or more, not {list(levels)}.")
    if neighbours not in (4, 8):
        raise UsageError(f"A grid point has 4 or 8 neighbours, not {neighbours!r}.")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1 (0.95, say), got {confidence}.")
    if resamples < 1:
        raise UsageError(f"resamples must be at least 1, got {resamples}.")


def _label(dataset: xr.Dataset, plane: Plane, confidence: float, loss: str) -> None:
    """Set what the schema's own labels cannot know: the axes, the loss's unit and the confidence."""
    for k, axis in enumerate(("u", "v")):
        dataset[axis].attrs["long_name"] = plane.axis_labels[k]
    for name in map(str, dataset.variables):
        known = schema.BASIN[name]
        if loss not in NATS and known.units == "nats":
            dataset[name].attrs["units"] = "1"
        if confidence != 0.95 and name.endswith("_ci"):
            dataset[name].attrs["long_name"] = known.long_name.replace("95%", f"{100 * confidence:g}%")
