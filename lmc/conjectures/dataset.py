"""Findings as a labelled dataset, and the set's verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lmc import schema
from lmc.conjectures.controls import Control
from lmc.conjectures.evidence import Measured
from lmc.conjectures.screening import USED, Screened
from lmc.conjectures.verdicts import CONNECTED, NOT_CONNECTED, PROVED, UNDECIDED, Question, Tried, Verdict
from lmc.datasets import AbstractData


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that was found out about a set."""

    question: Question
    screened: Screened
    refused: Mapping[str, str]
    pairs: Sequence[tuple[str, str]]
    ladder: tuple[str, ...]
    tried: Sequence[Mapping[str, Measured]]
    verdicts: Sequence[Verdict]
    controls: Sequence[Control]
    share: tuple[float, NDArray[np.float64] | None]
    strong: tuple[list[Tried], list[Verdict]] | None


def to_dataset(found: Findings, data: AbstractData, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Return findings as kind "conjecture" of the schema."""
    variables: dict[str, Any] = {**_of_models(found), **_of_pairs(found), **_of_tries(found), **_of_controls(found)}
    variables["fraction_connected"] = ((), found.share[0])
    if found.share[1] is not None:
        variables["fraction_connected_ci"] = (("bound",), found.share[1])
    coords = {
        "pair": np.arange(len(found.pairs)),
        "alignment": np.array(found.ladder, dtype=str),
        "t": found.question.t,
        "bound": list(schema.BOUNDS),
        "model": [*found.screened.solutions, *found.refused],
        "control": [one.name for one in found.controls] or np.array([], dtype=str),
        "split": data.split,
    }
    dataset = xr.Dataset(variables, coords).set_coords(["a", "b"])
    if found.question.metric == "loss":
        for name in ("barrier", "barrier_ci", "control_barrier", "control_ci", "strong_barrier", "strong_ci"):
            if name in dataset:
                dataset[name].attrs["units"] = "nats"
    own = {
        "tolerance": found.question.tolerance,
        "metric": found.question.metric,
        "confidence": found.question.confidence,
        "seed": found.question.seed,
        "ladder": list(found.ladder),
        "summary": summary(found),
        "caveats": caveats(found),
    }
    return schema.annotate(dataset, "conjecture", {**own, **attrs})


def _of_models(found: Findings) -> dict[str, Any]:
    solutions = found.screened.solutions.values()
    nothing = [np.nan] * len(found.refused)
    status = [*(one.status for one in solutions), *(f"refused: {reason}" for reason in found.refused.values())]
    variables = {
        "model_status": (("model",), np.array(status, dtype=str)),
        "model_loss": (("model",), [*(one.loss for one in solutions), *nothing]),
    }
    if any(np.isfinite(one.accuracy) for one in solutions):
        variables["model_accuracy"] = (("model",), [*(one.accuracy for one in solutions), *nothing])
    return variables


def _of_pairs(found: Findings) -> dict[str, Any]:
    dims = ("pair",)
    cosines = [found.screened.cosines[pair] for pair in found.pairs]
    variables: dict[str, Any] = {
        "a": (dims, np.array([a for a, _ in found.pairs], dtype=str)),
        "b": (dims, np.array([b for _, b in found.pairs], dtype=str)),
        "verdict": (dims, np.array([one.word for one in found.verdicts], dtype=str)),
        "method": (dims, np.array([one.method for one in found.verdicts], dtype=str)),
        "p": (dims, [one.p for one in found.verdicts]),
        "why": (dims, np.array([one.why for one in found.verdicts], dtype=str)),
        "cosine": (dims, [plain for plain, _ in cosines]),
        "aligned_cosine": (dims, [aligned for _, aligned in cosines]),
    }
    if found.strong is not None:
        tried, verdicts = found.strong
        variables["strong_barrier"] = (dims, [one.barrier for one in tried])
        variables["strong_ci"] = ((*dims, "bound"), np.stack([one.bounds for one in tried]))
        variables["strong_verdict"] = (dims, np.array([one.word for one in verdicts], dtype=str))
    return variables


def _of_tries(found: Findings) -> dict[str, Any]:
    dims, shape = ("pair", "alignment"), (len(found.pairs), len(found.ladder))
    scalars = {name: np.full(shape, np.nan) for name in ("barrier", "p_below", "p_above", "seconds")}
    examples = np.zeros(shape, dtype=np.int64)
    bounds = np.full((*shape, 2), np.nan)
    curves = {name: np.full((*shape, len(found.question.t)), np.nan) for name in ("loss", "accuracy")}
    for pair, methods in enumerate(found.tried):
        for method, one in methods.items():
            at = pair, found.ladder.index(method)
            bounds[at] = one.tried.bounds
            for name in ("barrier", "p_below", "p_above"):
                scalars[name][at] = getattr(one.tried, name)
            scalars["seconds"][at] = one.seconds
            examples[at] = one.tried.examples
            for name, values in curves.items():
                if name in one.curves:
                    values[at] = one.curves[name].values
    kept = {name: values for name, values in curves.items() if name == "loss" or np.isfinite(values).any()}
    return {
        "tried": (dims, np.isfinite(scalars["barrier"])),
        "examples": (dims, examples),
        "barrier_ci": ((*dims, "bound"), bounds),
        **{name: (dims, values) for name, values in scalars.items()},
        **{name: ((*dims, "t"), values) for name, values in kept.items()},
    }


def _of_controls(found: Findings) -> dict[str, Any]:
    dims = ("control",)
    return {
        "control_passed": (dims, np.array([one.passed for one in found.controls], dtype=bool)),
        "control_barrier": (dims, np.array([one.barrier for one in found.controls], dtype=np.float64)),
        "control_ci": ((*dims, "bound"), np.array([one.bounds for one in found.controls]).reshape(-1, 2)),
        "control_message": (dims, np.array([one.message for one in found.controls], dtype=str)),
    }


def summary(found: Findings) -> str:
    """Return the verdict on the set in one sentence."""
    counts = {word: sum(one.word == word for one in found.verdicts) for word in (CONNECTED, NOT_CONNECTED, PROVED)}
    total, models = len(found.verdicts), len(found.screened.used)
    parts = [f"{number} of {total} {word}" for word, number in counts.items() if number]
    if left := sum(one.word == UNDECIDED for one in found.verdicts):
        parts.append(f"{left} of {total} {UNDECIDED}")
    what = "pairs" if total > 1 else "pair"
    tolerance = (
        f"{100 * found.question.tolerance:g}%"
        if found.question.metric == "error"
        else (f"{found.question.tolerance:g} nats")
    )
    return f"{models} models, {total} {what}: {', '.join(parts)} ({found.question.metric} barrier against {tolerance})."


def caveats(found: Findings) -> list[str]:
    """Return what a reader has to know before quoting the summary."""
    said = [f"{one.name}: {one.message}" for one in found.controls if not one.passed]
    if not found.controls:
        said.append("no controls were run: whether the methods find what is there is not known")
    if any(one.word == NOT_CONNECTED for one in found.verdicts):
        said.append("not connected by anything tried does not mean that no permutation exists")
    aside = [name for name, one in found.screened.solutions.items() if one.status != USED]
    if aside or found.refused:
        said.append(f"set aside: {', '.join([*aside, *found.refused])}")
    if found.question.metric == "error":
        said.append("the error barrier can be small where the loss barrier is not, and the other way round")
    return said
