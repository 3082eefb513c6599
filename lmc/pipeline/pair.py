"""From two files to two state dicts of one network, matched before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmc._errors import CheckpointError, MismatchError, UsageError
from lmc._reference import Reference
from lmc._types import StateDict
from lmc.architectures import Architecture, fit_state, resolve
from lmc.checkpoints import Checkpoint, load
from lmc.datasets import DATASETS, AbstractData, open_data


@dataclass(frozen=True, eq=False)
class Model:
    """A checkpoint and the network it belongs to.

    Parameters
    ----------
    checkpoint : Checkpoint
        As it was loaded.
    architecture : Architecture
        The network, its own parameters arbitrary.
    state : dict of str to Tensor
        The checkpoint's tensors under the network's names, complete.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    state: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two checkpoints of one network."""

    a: Model
    b: Model

    @property
    def cosine(self) -> float:
        """Cosine between all matrices and kernels: near 0 for independent runs, near 1 for one run twice."""
        return cosine(self.a.state, self.b.state)

    def attrs(self) -> dict[str, Any]:
        """Return where both came from, as attributes of a result."""
        found: dict[str, Any] = {"model": self.a.architecture.reference, "cosine": self.cosine}
        found["model_assumptions"] = list(self.a.architecture.assumptions)
        for end, model in (("a", self.a), ("b", self.b)):
            notes = {key: model.checkpoint.metadata.get(key) for key in ("format", "unwrapped", "stripped")}
            found |= {f"{end}_source": model.checkpoint.source, f"{end}_sha256": model.checkpoint.digest}
            found |= {f"{end}_{key}": value for key, value in notes.items() if value}
        return found


def load_model(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    entry: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
) -> Model:
    """Load a checkpoint and find its network.

    Parameters
    ----------
    path : path-like
        The file.
    model : str, optional
        Reference of the network; by default the checkpoint's own word or the shapes of its weights decide.
    entry : str, optional
        Which state dict, of a file that holds several (``ema``).
    input_shape : tuple of int, optional
        Shape of one example of the data.
    num_classes : int, optional
        Classes of the data.

    Raises
    ------
    CheckpointError, ArchitectureError, MismatchError
        If the file, the network or their match is not usable.
    """
    checkpoint = load(path, entry=entry)
    check_finite(checkpoint)
    architecture = resolve(model, checkpoint, input_shape=input_shape, num_classes=num_classes)
    return Model(checkpoint, architecture, fit_state(checkpoint.state, architecture.module, checkpoint.source))


def check_finite(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError where a weight is NaN or infinite: such a network is no solution of anything."""
    broken = [name for name, t in checkpoint.state.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(
            f"{checkpoint.source} has NaN or infinite weights in {', '.join(broken[:4])}: the run diverged. "
            "Take an earlier checkpoint of it."
        )


def load_pair(
    a: str | os.PathLike[str], b: str | os.PathLike[str], *, entry: str | None = None, **options: Any
) -> Pair:
    """Load two checkpoints of one network; options as in :func:`load_model`.

    Raises
    ------
    MismatchError
        If B is not of A's network: every name or shape that differs is listed.
    """
    first = load_model(a, entry=entry, **options)
    other = load(b, entry=entry)
    check_finite(other)
    _check_same_shapes(first.checkpoint, other)
    state = fit_state(other.state, first.architecture.module, other.source)
    return Pair(first, Model(other, first.architecture, state))


def _check_same_shapes(a: Checkpoint, b: Checkpoint) -> None:
    both = [name for name in a.state if name in b.state]
    unequal = [name for name in both if a.state[name].shape != b.state[name].shape]
    if unequal:
        lines = [f"  {name}: A {tuple(a.state[name].shape)}, B {tuple(b.state[name].shape)}" for name in unequal[:4]]
        more = [f"  and {len(unequal) - 4} more"] if len(unequal) > 4 else []
        raise MismatchError(
            "\n".join([f"{a.source} (A) and {b.source} (B) are networks of different shape:", *lines, *more])
            + "\nA barrier needs two networks of equal shape."
        )


def data_for(
    model: Checkpoint,
    reference: str | None,
    *,
    split: str = "test",
    data_dir: str | os.PathLike[str] | None = None,
) -> AbstractData:
    """Open the dataset asked for, else the one that the checkpoint says it was trained on.

    Raises
    ------
    UsageError
        If neither says one. A file or an import path named inside a checkpoint is never opened.
    """
    if reference is None:
        recorded = model.metadata.get("lmc", {}).get("data")
        if not isinstance(recorded, str) or Reference.parse(recorded).name not in DATASETS:
            raise UsageError(
                f"Which data? {model.source} does not say. Pass --data, one of {', '.join(DATASETS)}, text:FILE or "
                "a FILE.npz with arrays x and y."
            )
        reference = recorded
    return open_data(reference, split, data_dir)


def cosine(a: StateDict, b: Mapping[str, Tensor]) -> float:
    """Return the cosine between the matrices and kernels of two state dicts, in float64.

    Scales and variances are left out: they are positive in every network, so that independent runs would look alike.
    """
    dot = norm_a = norm_b = 0.0
    for name, tensor in a.items():
        if tensor.is_floating_point() and tensor.dim() > 1:
            one, two = tensor.double().ravel(), b[name].double().ravel()
            dot += float(torch.dot(one, two))
            norm_a += float(torch.dot(one, one))
            norm_b += float(torch.dot(two, two))
    return dot / max((norm_a * norm_b) ** 0.5, 1e-300)
