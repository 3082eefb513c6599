"""Paths evaluated in parts of several positions, each a work unit: what is measured stays measured."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from lmc.barriers.setting import Setting
from lmc.evaluation import PathEvaluation, evaluate_path
from lmc.evaluation.engine import load_copy
from lmc.evaluation.evaluate import Path, Progress
from lmc.evaluation.inputs import network_inputs
from lmc.units import Unit, WorkFolder, code_digest, fingerprint

_PART = 4e12
"""Floating-point operations in a part: some ten seconds to a minute on a CPU; fast work is one part a path."""


def evaluate_paths(
    setting: Setting,
    paths: Mapping[str, Path],
    *,
    work: WorkFolder | None = None,
    extra_examples: int = 0,
    progress: Progress | None = None,
) -> list[PathEvaluation]:
    """Evaluate paths one after the other, in parts that a folder keeps where there is one.

    Which positions make a part depends on the network and the data alone, not on what was there before: an
    interrupted run that is taken up again makes the same calls as one that was not, and so the same numbers.

    Parameters
    ----------
    setting : Setting
        Network, data and positions.
    paths : mapping of names to paths
        Each evaluated at every position.
    work : WorkFolder, optional
        Where parts are kept.
    extra_examples : int
        Examples that a position costs beside those of the data (statistics).
    progress : callable, optional
        Such as ``tqdm.tqdm``.

    Returns
    -------
    list of PathEvaluation
        One each.
    """
    if work is None:
        return [_evaluate(setting, path, setting.t, progress) for path in paths.values()]
    size = _positions_in_a_part(setting, extra_examples)
    chunks = [setting.t[start : start + size] for start in range(0, len(setting.t), size)]
    about = describe_work(setting)
    units = []
    for path in paths.values():
        along = {**about, "path": fingerprint(path)}
        for t in chunks:
            compute = partial(_evaluated_dataset, setting, path, t, progress)
            units.append((Unit("evaluation", {**along, "t": t.tolist()}), compute))
    found = [_from_dataset(one) for one in work.run(units)]
    return [_joined(found[i : i + len(chunks)]) for i in range(0, len(found), len(chunks))]


def describe_work(setting: Setting) -> dict[str, Any]:
    """Return what determines an evaluation, but for path and positions, as settings of a unit."""
    return {
        "module": fingerprint(setting.module),
        "data": setting.data.digest,
        "loss": setting.data.task if setting.loss is None else fingerprint(setting.loss),
        "normalizations": [str(constants) for constants in setting.normalizations],
        "batch_size": setting.batch_size,
        "dtype": str(setting.dtype),
        "device": str(setting.device),
        "threads": torch.get_num_threads(),  # sums are split among them
        "code": code_digest(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
    }


def _evaluate(setting: Setting, path: Path, t: NDArray[np.float64], progress: Progress | None) -> PathEvaluation:
    return evaluate_path(
        setting.module,
        path,
        t,
        setting.data,
        loss=setting.loss,
        normalizations=setting.normalizations,
        batch_size=setting.batch_size,
        device=setting.device,
        dtype=setting.dtype,
        memory=setting.memory,
        progress=progress,
    )


def _evaluated_dataset(setting: Setting, path: Path, t: NDArray[np.float64], progress: Progress | None) -> xr.Dataset:
    found = _evaluate(setting, path, t, progress)
    values: dict[str, Any] = {"example_loss": (("t", "example"), found.example_loss), "seconds": found.seconds}
    if found.example_correct is not None:
        values["example_correct"] = (("t", "example"), found.example_correct)
    return xr.Dataset(values, coords={"t": found.t}, attrs={"how": found.how})


def _from_dataset(stored: xr.Dataset) -> PathEvaluation:
    correct = stored.example_correct.values if "example_correct" in stored else None
    loss, seconds = stored.example_loss.values, float(stored.seconds)
    return PathEvaluation(stored.t.values, loss, correct, seconds, stored.attrs["how"])


def _joined(parts: list[PathEvaluation]) -> PathEvaluation:
    correct = [part.example_correct for part in parts if part.example_correct is not None]
    return PathEvaluation(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.example_loss for part in parts]),
        np.concatenate(correct) if correct else None,
        sum(part.seconds for part in parts),
        "; ".join(dict.fromkeys(part.how for part in parts)),
    )


def _positions_in_a_part(setting: Setting, extra_examples: int) -> int:
    """Return how many positions stay below the size of a part; all of them where nobody knows the examples."""
    if setting.data.size is None:
        return len(setting.t)
    work = operations_per_example(setting) * (setting.data.size + extra_examples)
    return max(1, int(_PART / max(work, 1.0)))


def operations_per_example(setting: Setting) -> float:
    """Estimate the multiplications and additions of one example's forward pass: matrices and kernels, at each place."""
    least = 2.0 * sum(parameter.numel() for parameter in setting.module.parameters())
    device = torch.device("cpu")
    network = load_copy(setting.module, setting.module.state_dict(), device, torch.float32).eval()
    inputs = next(iter(setting.data.batches(2)))[0][:2]
    counted: list[float] = []

    def count(layer: nn.Module, _: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, Tensor):
            kernels = [parameter for parameter in layer.parameters(recurse=False) if parameter.dim() > 1]
            counted.extend(2.0 * kernel.numel() / len(kernel) * first.numel() / len(inputs) for kernel in kernels)

    for layer in network.modules():
        layer.register_forward_hook(count)
    try:
        with torch.inference_mode():
            network(network_inputs(inputs, setting.normalizations[0], device, torch.float32))
    except Exception:  # a network that needs its own device or dtype: an estimate is enough
        return least
    return max(least, sum(counted))
