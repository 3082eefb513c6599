"""Rows of a fusion table, measured, as a dataset with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lmc import schema
from lmc._errors import UsageError
from lmc.barriers.describe import describe_data, set_labels
from lmc.barriers.intervals import bootstrap_means, percentile_interval
from lmc.datasets import AbstractData
from lmc.evaluation import PathEvaluation
from lmc.evaluation.losses import loss_name


@dataclass(frozen=True)
class Row:
    """One row of a fusion table before it is measured.

    Parameters
    ----------
    name, role : str
        As in the schema.
    measure : callable
        ``measure(data, {"device": ..., "dtype": ...})`` to a `PathEvaluation` of one position.
    parameters : int
        Number of parameters, of an ensemble those of all members.
    message : str
        How the fusion ended.
    objective, seconds : float
        Of the fusion; NaN where there is none.
    """

    name: str
    role: str
    measure: Callable[[AbstractData, Mapping[str, Any]], PathEvaluation]
    parameters: int
    message: str = ""
    objective: float = float("nan")
    seconds: float = float("nan")


def fusion_dataset(
    rows: Sequence[Row],
    found: Mapping[str, PathEvaluation],
    data: AbstractData,
    attrs: Mapping[str, Any],
    where: Mapping[str, Any],
    *,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 1000,
    examples: bool = True,
) -> xr.Dataset:
    """Put measured rows together.

    Parameters
    ----------
    rows : sequence of Row
        In the order of the table, names all different.
    found : mapping of str to PathEvaluation
        What each row's measurement gave, on the same examples.
    data : AbstractData
        Those examples.
    attrs : mapping
        Provenance.
    where : mapping
        ``device`` and ``dtype`` of the evaluation.
    seed, confidence, resamples
        Of the bootstrap over examples, the same resamples in every row.
    examples : bool
        Keep the values of single examples.

    Returns
    -------
    xarray.Dataset
        Kind "fusion" of the schema.

    Raises
    ------
    UsageError
        If two rows have one name, or the intervals make no sense.
    """
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two rows of the table are called {twice!r}: give the networks other names.")
    if not 0 < confidence < 1 or resamples < 1:
        raise UsageError(f"Intervals need a confidence in (0, 1) and a resample, got {confidence} and {resamples}.")
    values = {"loss": np.stack([found[name].example_loss[0] for name in names])}
    correct = [found[name].example_correct for name in names]
    if all(one is not None for one in correct):
        values["correct"] = np.stack([one[0] for one in correct if one is not None])
    variables = _means(values, examples, seed=seed, confidence=confidence, resamples=resamples)
    variables |= {
        "role": ("model", np.array([row.role for row in rows], dtype=str)),
        "parameters": ("model", np.array([row.parameters for row in rows], dtype=np.int64)),
        "objective": ("model", np.array([row.objective for row in rows], dtype=np.float64)),
        "fusion_message": ("model", np.array([row.message for row in rows], dtype=str)),
        "seconds_fuse": ("model", np.array([row.seconds for row in rows], dtype=np.float64)),
    }
    coords: dict[str, Any] = {"model": names, "bound": list(schema.BOUNDS), "split": data.split}
    coords |= {"example": np.arange(values["loss"].shape[1])} if examples else {}
    dataset = xr.Dataset(variables, coords=coords)
    set_labels(dataset, confidence, loss_name(None, data.task), schema.FUSION)
    about = {
        **attrs,
        **describe_data(data, (data.normalization, data.normalization)),
        "data_digest": data.digest,
        "examples": int(values["loss"].shape[1]),
        "confidence": confidence,
        "bootstrap": "over examples, the same in every row: percentiles of means",
        "bootstrap_resamples": resamples,
        "bootstrap_seed": seed,
        "loss_function": loss_name(None, data.task),
        "dtype": str(where["dtype"]).removeprefix("torch."),
        "device": str(where["device"]),
    }
    return schema.annotate(dataset, "fusion", about)


def _means(
    values: Mapping[str, NDArray[Any]], examples: bool, *, seed: int, confidence: float, resamples: int
) -> dict[str, Any]:
    """Return means and their intervals from values of shape (model, example), row by row: rows do not touch others."""
    drawn = [
        bootstrap_means(np.stack(row, axis=1), resamples=resamples, seed=seed)
        for row in zip(*values.values(), strict=True)
    ]
    found: dict[str, Any] = {}
    for column, (kind, table) in enumerate(values.items()):
        mean = "loss" if kind == "loss" else "accuracy"
        interval = percentile_interval(np.stack([one[:, column] for one in drawn], axis=1), confidence)
        found[mean] = ("model", table.mean(axis=1, dtype=np.float64))
        found[f"{mean}_ci"] = (("model", "bound"), interval)
        if examples:
            found[f"example_{kind}"] = (("model", "example"), table)
    return found
