"""The steps that commands share between parsing and computing: open, introduce, prove."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmc.cli.common import Common, describe_model, describe_proof, renaming

if TYPE_CHECKING:
    from lmc.checkpoints import Checkpoint
    from lmc.datasets import AbstractData
    from lmc.pipeline import Model, Pair, Proof


def load_pair(
    a: Path, b: Path, model: str | None, data: str | None, common: Common, *, widths_may_differ: bool = False
) -> tuple[Pair, AbstractData]:
    """Open two checkpoints of one network, and the data to measure on."""
    from lmc import pipeline

    first, second = common.open(a), common.open(b)
    measured = pipeline.data_for(first, data, split=common.split, data_dir=common.data_dir)
    known = sizes(measured, common)
    return pipeline.load_pair(first, second, model=model, widths_may_differ=widths_may_differ, **known), measured


def load_alike(
    files: Sequence[Path], model: str | None, data: str | None, common: Common
) -> tuple[list[Model], AbstractData]:
    """Open checkpoints of one network, and the data to measure on."""
    from lmc import pipeline

    first, *others = [common.open(file) for file in files]
    measured = pipeline.data_for(first, data, split=common.split, data_dir=common.data_dir)
    options = sizes(measured, common)
    pairs = [pipeline.load_pair(first, other, model=model, **options) for other in others or [first]]
    return [pairs[0].a, *(pair.b for pair in pairs[: len(others)])], measured


def load_any(checkpoints: Sequence[Checkpoint], model: str | None, options: dict[str, Any]) -> list[Model]:
    """Match checkpoints to networks, one network for all that have the shapes of the first."""
    from lmc import pipeline

    first, *others = checkpoints
    found = [pipeline.load_pair(first, first, model=model, **options).a]
    for other in others:
        if _shapes(other) == _shapes(first):
            found.append(pipeline.load_pair(first, other, model=model, **options).b)
        else:
            kept = {key: value for key, value in options.items() if key != "mapping"}
            mapping = options.get("mapping")
            names = None if mapping is None else pipeline.read_names(mapping, *checkpoints)
            found.append(pipeline.load_model(other, model=model, names=names, **kept))
    return found


def _shapes(checkpoint: Checkpoint) -> list[tuple[int, ...]]:
    return sorted(tuple(tensor.shape) for tensor in checkpoint.state.values())


def sizes(measured: AbstractData | None, common: Common) -> dict[str, Any]:
    """Return what data and options tell about the network: the mapping of names, the input shape and the classes."""
    seen = None if measured is None else measured.input_shape
    classes = None if measured is None else measured.num_classes
    return {"mapping": common.map, "input_shape": common.shape or seen, "num_classes": classes}


def introduce(models: Sequence[Model], measured: AbstractData | None, common: Common) -> None:
    """Say what was loaded and what was assumed, before the long work."""
    first = models[0].architecture
    common.note("A", describe_model(models[0]))
    for number, one in enumerate(models[1:], start=1):
        alike = one.architecture.name == first.name
        what = f"{Path(one.checkpoint.source).name}   the same architecture" if alike else describe_model(one)
        common.note(letters(number), "\n".join([what, *(renaming(one) if alike else [])]))
    if measured is not None:
        introduce_data(measured, common)


def introduce_data(measured: AbstractData, common: Common, label: str = "data") -> None:
    """Say what a dataset is, and how its inputs are normalised."""
    size = "" if measured.size is None else f", {measured.size:,} examples"
    constants = str(measured.normalization or "not normalised")
    common.note(label, "\n".join([f"{measured.name} {measured.split}{size}, {constants}", *measured.notes]))


def prove(model: Model, spec: Path | None, common: Common) -> Proof:
    """Prove the symmetries of a network, and say what they are."""
    from lmc import pipeline

    architecture = model.architecture
    proof = pipeline.prove(architecture.module, architecture.example_inputs(seed=common.seed), written=spec)
    describe_proof(proof, common)
    return proof


def sources(models: Sequence[Model]) -> dict[str, Any]:
    """Return where networks came from, as attributes of a result."""
    architecture = models[0].architecture
    found: dict[str, Any] = {"model": architecture.reference, "model_assumptions": list(architecture.assumptions)}
    for number, one in enumerate(models):
        end = letters(number).lower()
        found |= {f"{end}_source": one.checkpoint.source, f"{end}_sha256": one.checkpoint.digest}
    return found


def letters(number: int) -> str:
    """Return what the checkpoint of a number, from 0, is called: A to Z, then AA, AB and so on."""
    rest, last = divmod(number, 26)
    return (letters(rest - 1) if rest else "") + chr(ord("A") + last)
