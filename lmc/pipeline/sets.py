"""From many files to state dicts of one network; files that are of another one are named, not guessed at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmc._errors import InputError, UsageError
from lmc.checkpoints import Checkpoint, relate
from lmc.datasets import AbstractData
from lmc.pipeline.pair import Model, data_for, load_pair


@dataclass(frozen=True, eq=False)
class ModelSet:
    """Checkpoints of one network.

    Parameters
    ----------
    models : dict of str to Model
        By the shortest names that tell them apart.
    data : AbstractData
        What they are measured on.
    refused : dict of str to str
        Checkpoints that are of another network or not usable, with the reason.
    """

    models: dict[str, Model]
    data: AbstractData
    refused: dict[str, str] = field(default_factory=dict)

    def attrs(self) -> dict[str, Any]:
        """Return where all came from, as attributes of a result."""
        first = next(iter(self.models.values()))
        files = {
            name: {"source": one.checkpoint.source, "sha256": one.checkpoint.digest}
            for name, one in self.models.items()
        }
        return {
            "model": first.architecture.reference,
            "model_assumptions": list(first.architecture.assumptions),
            "checkpoints": files,
        }


def load_set(
    checkpoints: Sequence[Checkpoint],
    *,
    model: str | None = None,
    data: str | None = None,
    mapping: str | os.PathLike[str] | None = None,
    split: str = "test",
    data_dir: str | os.PathLike[str] | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> ModelSet:
    """Match many checkpoints to one network, that of the layout which most of them have.

    Parameters
    ----------
    checkpoints : sequence of Checkpoint
        What was loaded of the files, two or more.
    model, mapping
        As in :func:`lmc.pipeline.load_pair`.
    data, split, data_dir
        As in :func:`lmc.pipeline.data_for`.
    input_shape : tuple of int, optional
        Shape of one example, where the data do not tell.

    Returns
    -------
    ModelSet

    Raises
    ------
    UsageError
        If there are fewer than two checkpoints, or fewer than two of one network.
    CheckpointError, ArchitectureError
        If no network is found.
    """
    if len(checkpoints) < 2:
        raise UsageError(f"Two checkpoints or more are needed, got {len(checkpoints)}.")
    names = short_names([one.source for one in checkpoints])
    layouts = [relation.layout for relation in relate(checkpoints)]
    usual, _ = Counter(layouts).most_common(1)[0]
    reference = checkpoints[layouts.index(usual)]
    measured = data_for(reference, data, split=split, data_dir=data_dir)
    sizes = {"input_shape": input_shape or measured.input_shape, "num_classes": measured.num_classes}
    models: dict[str, Model] = {}
    refused: dict[str, str] = {}
    for name, one in zip(names, checkpoints, strict=True):
        try:
            models[name] = load_pair(reference, one, model=model, mapping=mapping, **sizes).b
        except InputError as error:
            if one is reference:
                raise
            refused[name] = _reason(str(error), {reference.source: names[layouts.index(usual)], one.source: name})
    if len(models) < 2:
        lines = [f"  {name}: {reason}" for name, reason in refused.items()]
        raise UsageError("\n".join(["Two checkpoints or more of one network are needed; of those given:", *lines]))
    return ModelSet(models, measured, refused)


def _reason(message: str, names: Mapping[str, str]) -> str:
    """Return the first lines of an error, in one, with files by their short names."""
    shown = " ".join(line.strip() for line in message.splitlines()[:2])
    for source, name in names.items():
        shown = shown.replace(source, name)
    return shown


def short_names(paths: Sequence[str]) -> list[str]:
    """Return as much of the end of every path as tells them apart: file names where those differ.

    Raises
    ------
    UsageError
        If one file is given twice.
    """
    parts = [Path(path).parts for path in paths]
    places = [Path(path).absolute() for path in paths]
    twice = next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice.")
    longest = max(len(one) for one in parts)
    for depth in range(1, longest + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
