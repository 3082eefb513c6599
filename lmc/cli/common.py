"""What the commands share: common options, notes, progress, free file names."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from lmc._errors import UsageError, unknown

if TYPE_CHECKING:
    import torch

    from lmc._types import StateDict
    from lmc.checkpoints import Checkpoint
    from lmc.pipeline import Model, Proof


WHAT = Group.create_ordered("Networks and data")
ALIGNMENT = Group.create_ordered("Alignment")
WAY = Group.create_ordered("Path")
MEASURED = Group.create_ordered("What is measured, and how surely")
WRITTEN = Group.create_ordered("What is written")
COMPUTING = Group.create_ordered("Files and computing")
"""Panels of the longer ``--help`` pages, in this order."""


@Parameter(name="*", group=COMPUTING)
@dataclass(frozen=True)
class Printing:
    """How results are printed.

    Parameters
    ----------
    json
        Print one JSON object on stdout; notes and progress go to stderr.
    """

    json: Annotated[bool, Parameter(negative="")] = False

    def note(self, label: str, text: str) -> None:
        """Tell the user something: on stdout, or on stderr beside JSON."""
        first, *rest = text.split("\n")
        stream = sys.stderr if self.json else sys.stdout
        print(f"{label:<10}{first}", *(f"{'':<10}{line}" for line in rest), sep="\n", file=stream, flush=True)

    @property
    def progress(self) -> Any:
        """A progress bar on a terminal, silent in logs."""
        from functools import partial

        from tqdm import tqdm

        return partial(tqdm, disable=None, leave=False, file=sys.stderr)


@Parameter(name="*", group=COMPUTING)
@dataclass(frozen=True)
class Opening:
    """How checkpoints are opened.

    Parameters
    ----------
    entry
        Which state dict, of a checkpoint that holds several (ema).
    trust_pickle
        A checkpoint to unpickle whatever it holds: this runs any code in it. Once for each file.
    dequantize
        Turn quantised weights into float32 rather than refuse them.
    """

    entry: str | None = None
    trust_pickle: Annotated[list[Path] | None, Parameter(negative="")] = None
    dequantize: Annotated[bool, Parameter(negative="")] = False

    def open(self, path: str | Path) -> Checkpoint:
        """Load a checkpoint."""
        from lmc.checkpoints import load

        trusted = Path(path).absolute() in [one.absolute() for one in self.trust_pickle or ()]
        return load(path, entry=self.entry, trust_pickle=trusted, dequantize=self.dequantize)


@Parameter(name="*", group=COMPUTING)
@dataclass(frozen=True)
class Common(Opening, Printing):
    """Options of every command that computes.

    Parameters
    ----------
    split
        Part of the dataset that is measured on.
    data_dir
        Folder of datasets; else LMC_DATA_DIR, then the cache, then a download.
    entry
        Which state dict, of a checkpoint that holds several (ema).
    trust_pickle
        A checkpoint to unpickle whatever it holds: this runs any code in it. Once for each file.
    dequantize
        Turn quantised weights into float32 rather than refuse them.
    map
        TOML file of lines "name in a checkpoint" = "name in the network", where names differ.
    device
        Where to compute: cpu, cuda, mps.
    seed
        Seed of everything drawn.
    threads
        Threads to compute with; all cores by default.
    dtype
        Floating-point type of the evaluation.
    input_shape
        Shape of one example without the batch (3,32,32), where neither data nor model tells.
    json
        Print one JSON object on stdout; notes and progress go to stderr.
    """

    split: Literal["train", "test"] = "test"
    data_dir: Path | None = None
    map: Path | None = None
    device: str = "cpu"
    seed: int = 0
    threads: int | None = None
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    input_shape: str | None = None

    def start(self) -> None:
        """Check what can be checked before any work, and apply what concerns the whole process."""
        import torch

        if self.seed < 0:
            raise UsageError(f"--seed is a whole number from 0 up, not {self.seed}.")
        if self.device.split(":")[0] not in {"cpu", "cuda", "mps"}:
            raise unknown("device", self.device, ("cpu", "cuda", "mps"))
        if self.threads is not None:
            if self.threads < 1:
                raise UsageError(f"--threads must be at least 1, got {self.threads}.")
            torch.set_num_threads(self.threads)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch has it."""
        import torch

        return getattr(torch, self.dtype)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The input shape as numbers."""
        if self.input_shape is None:
            return None
        try:
            return tuple(int(size) for size in self.input_shape.replace("x", ",").split(","))
        except ValueError as error:
            raise UsageError(
                f"--input-shape {self.input_shape!r}: write sizes like 3,32,32, without the batch."
            ) from error


def describe_model(model: Model) -> str:
    """Say what was loaded and what was assumed: file, network, wrapper, prefix."""
    notes = [Path(model.checkpoint.source).name, model.architecture.name]
    if model.architecture.assumptions:
        notes[1] += f" ({'; '.join(model.architecture.assumptions)})"
    return "\n".join(["   ".join([*notes, *unwrapping(model.checkpoint.metadata)]), *renaming(model)])


def renaming(model: Model) -> list[str]:
    """Say which names of the file were taken for which of the network, layer by layer."""
    layers: dict[str, str] = {}
    for name, other in model.renamed.items():
        (layer, _, leaf), (others, _, last) = name.rpartition("."), other.rpartition(".")
        layers |= {others: layer} if leaf == last else {other: name}
    shown = [f"{other or '(top)'} = {name or '(top)'}" for other, name in list(layers.items())[:6]]
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return [f"names matched: {', '.join(shown)}{more} (--map FILE.toml to say otherwise)"] if layers else []


def describe_proof(proof: Proof, common: Printing) -> None:
    """Say what was found and proved."""
    spec = proof.spec
    common.note("symmetry", f"{len(spec.groups)} groups, {spec.units:,} units, verified: {proof.verification.message}")


def unwrapping(metadata: dict[str, Any]) -> list[str]:
    """Say what the loader took off."""
    notes = []
    if metadata.get("unwrapped"):
        notes.append(f"weights under {metadata['unwrapped']!r}")
    if metadata.get("stripped"):
        notes.append(f"prefix {metadata['stripped']!r} stripped")
    return notes


def check_weights_writable(path: Path, like: Path, inputs: Sequence[Path]) -> None:
    """Raise UsageError, before any long work, where weights could not be written as a file, or as a folder like one."""
    from lmc.checkpoints import check_folder

    if path.suffix == "" and like.is_dir():
        check_folder(path)
        check_writable(path / "model.safetensors", inputs=inputs)
    else:
        check_writable(path, ".safetensors", inputs)


def write_weights(state: StateDict, path: Path, like: Path, about: dict[str, Any]) -> Path:
    """Write weights as a safetensors file; as a whole folder where a name without an ending is given for a folder."""
    from lmc.checkpoints import save, save_folder

    return save_folder(state, path, like, about) if path.suffix == "" else save(state, path, about)


def free_name(stem: str, suffix: str, taken: Collection[str] = ()) -> Path:
    """Return a name in the working folder that nothing has yet, nor will have: barrier.nc, barrier-2.nc, ..."""
    path, count = Path(f"{stem}{suffix}"), 1
    while path.exists() or path.name in taken:
        count += 1
        path = Path(f"{stem}-{count}{suffix}")
    return path


def check_writable(path: Path, suffix: str = "", inputs: Sequence[Path] = ()) -> None:
    """Raise UsageError, before any long work, where a file could not be written or would replace an input."""
    if suffix and path.suffix != suffix:
        raise UsageError(f"{path.name} will be a {suffix} file: name it {path.stem}{suffix}.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file.")
    for one in inputs:
        if path.exists() and one.exists() and path.samefile(one):
            raise UsageError(f"{path} is an input: it would be lost. Name another file.")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {folder}: {error.strerror}.") from error
