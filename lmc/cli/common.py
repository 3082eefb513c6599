"""What the commands share: common options, notes, progress, free file names."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from lmc._errors import UsageError

if TYPE_CHECKING:
    import torch

    from lmc.pipeline import Model


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options that every command takes.

    Parameters
    ----------
    split
        Part of the dataset that is measured on.
    data_dir
        Folder of datasets; else LMC_DATA_DIR, then the cache, then a download.
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
    device: str = "cpu"
    seed: int = 0
    threads: int | None = None
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    input_shape: str | None = None
    json: Annotated[bool, Parameter(negative="")] = False

    def start(self) -> None:
        """Apply what concerns the whole process."""
        import torch

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

    def note(self, label: str, text: str) -> None:
        """Tell the user something: on stdout, or on stderr beside JSON."""
        first, *rest = text.split("\n")
        print(f"{label:<10}{first}", *(f"{'':<10}{line}" for line in rest), sep="\n", file=self.stream)

    @property
    def stream(self) -> Any:
        """Where notes go."""
        return sys.stderr if self.json else sys.stdout

    @property
    def progress(self) -> Any:
        """A progress bar on a terminal, silent in logs."""
        from functools import partial

        from tqdm import tqdm

        return partial(tqdm, disable=None, leave=False, file=sys.stderr)


def describe_model(model: Model) -> str:
    """Say what was loaded and what was assumed: file, network, wrapper, prefix."""
    notes = [Path(model.checkpoint.source).name, model.architecture.name]
    if model.architecture.assumptions:
        notes[1] += f" ({'; '.join(model.architecture.assumptions)})"
    return "   ".join([*notes, *unwrapping(model.checkpoint.metadata)])


def unwrapping(metadata: dict[str, Any]) -> list[str]:
    """Say what the loader took off."""
    notes = []
    if metadata.get("unwrapped"):
        notes.append(f"weights under {metadata['unwrapped']!r}")
    if metadata.get("stripped"):
        notes.append(f"prefix {metadata['stripped']!r} stripped")
    return notes


def free_name(stem: str, suffix: str) -> Path:
    """Return a name in the working folder that nothing has yet: barrier.nc, barrier-2.nc, ..."""
    path, count = Path(f"{stem}{suffix}"), 1
    while path.exists():
        count += 1
        path = Path(f"{stem}-{count}{suffix}")
    return path


def check_writable(path: Path, suffix: str = "") -> None:
    """Raise UsageError, before any long work, where a file could not be written in the end."""
    import os

    if suffix and path.suffix != suffix:
        raise UsageError(f"{path.name} will be a {suffix} file: name it {path.stem}{suffix}.")
    folder = path.parent
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file.")
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"{path} cannot be written: {folder} is a file, not a folder.")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{path} cannot be written: no permission in {folder}.")
