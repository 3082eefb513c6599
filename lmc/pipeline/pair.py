"""From two files to two state dicts of one network, matched before anything is computed."""

from __future__ import annotations

import copy
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lmc._errors import ArchitectureError, MismatchError, UsageError, did_you_mean
from lmc._reference import Reference
from lmc._types import StateDict
from lmc.architectures import Architecture, fit_state, match_names, resolve
from lmc.checkpoints import Checkpoint, check_usable, cosine, load
from lmc.datasets import DATASETS, AbstractData, open_data
from lmc.symmetry import PermutationSpec
from lmc.symmetry.widths import with_widths


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
        The checkpoint's tensors under the network's names, complete; what is stored in half precision or less as
        float32, in which networks are compared and interpolated.
    renamed : dict of str to str
        For names of the network that the file has under another: the file's name.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    state: dict[str, Tensor]
    renamed: dict[str, str] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network with the checkpoint's weights, in their own types."""
        module = copy.deepcopy(self.architecture.module)
        module.load_state_dict(self.state, assign=True)
        return module.eval()

    def as_written(self, state: StateDict) -> dict[str, Tensor]:
        """Return new values, under the network's names, as the file's own strict loader expects them."""
        return self.checkpoint.as_written({self.renamed.get(name, name): tensor for name, tensor in state.items()})


@dataclass(frozen=True, eq=False)
class Pair:
    """Two checkpoints of one network, or, where that was allowed, of one in two widths."""

    a: Model
    b: Model

    @property
    def widths_differ(self) -> bool:
        """Whether B has other shapes than A."""
        return any(tensor.shape != self.b.state[name].shape for name, tensor in self.a.state.items())

    @property
    def cosine(self) -> float:
        """Cosine of all matrices and kernels: near 0 between runs, near 1 for one run twice; NaN if widths differ."""
        return math.nan if self.widths_differ else cosine(self.a.state, self.b.state)

    def check_widths(self, spec: PermutationSpec) -> None:
        """Raise MismatchError where B differs from A in more than the number of units of the spec's groups."""
        if with_widths(spec, self.b.state) is None:
            _check_same_shapes(
                self.a.checkpoint,
                self.b.checkpoint,
                "They differ in more than the widths that --align ot can carry: inputs, outputs, how layers join, "
                "or a layer of A with a single unit (exchange A and B then).",
            )

    def attrs(self) -> dict[str, Any]:
        """Return where both came from, as attributes of a result."""
        found: dict[str, Any] = {"model": self.a.architecture.reference}
        found |= {"b_model": self.b.architecture.reference} if self.widths_differ else {"cosine": self.cosine}
        found["model_assumptions"] = list(self.a.architecture.assumptions)
        for end, model in (("a", self.a), ("b", self.b)):
            notes = {key: model.checkpoint.metadata.get(key) for key in ("format", "unwrapped", "stripped")}
            found |= {f"{end}_source": model.checkpoint.source, f"{end}_sha256": model.checkpoint.digest}
            found |= {f"{end}_{key}": value for key, value in notes.items() if value}
            if model.renamed:
                found[f"{end}_renamed"] = model.renamed
        return found


def load_model(
    path: str | os.PathLike[str] | Checkpoint,
    *,
    model: str | None = None,
    entry: str | None = None,
    names: Mapping[str, str] | None = None,
    input_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
) -> Model:
    """Load a checkpoint and find its network.

    Parameters
    ----------
    path : path-like or Checkpoint
        The file, or what was loaded of it.
    model : str, optional
        Reference of the network; by default the checkpoint's own word or the shapes of its weights decide.
    entry : str, optional
        Which state dict, of a file that holds several (``ema``).
    names : mapping of str to str, optional
        From names of the file to names of the network, where matching them by order and shape would be wrong.
    input_shape : tuple of int, optional
        Shape of one example of the data.
    num_classes : int, optional
        Classes of the data.

    Raises
    ------
    CheckpointError, ArchitectureError, MismatchError
        If the file, the network or their match is not usable.
    """
    checkpoint = path if isinstance(path, Checkpoint) else load(path, entry=entry)
    check_usable(checkpoint)
    given = rename(checkpoint, names or {})
    return fitted(checkpoint, given, resolve(model, given, input_shape=input_shape, num_classes=num_classes))


def fitted(checkpoint: Checkpoint, given: Checkpoint, architecture: Architecture) -> Model:
    """Match the weights, perhaps under names the user gave, to the network."""
    fitted = fit_state(given.state, architecture.module, checkpoint.source)
    matched = match_names(given.state, architecture.module.state_dict()) or {}
    origin = dict(zip(given.state, checkpoint.state, strict=True))
    pairs = {name: origin.get(matched.get(name, name), name) for name in fitted}
    renamed = {name: other for name, other in pairs.items() if name != other}
    return Model(checkpoint, architecture, {name: wide(tensor) for name, tensor in fitted.items()}, renamed)


def wide(tensor: Tensor) -> Tensor:
    """Return what is stored in half precision or less as float32, in which networks are compared."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def rename(checkpoint: Checkpoint, names: Mapping[str, str]) -> Checkpoint:
    """Return the checkpoint under other names; those that the mapping does not know stay.

    Raises
    ------
    MismatchError
        If two tensors would get one name.
    """
    state = {names.get(name, name): tensor for name, tensor in checkpoint.state.items()}
    if len(state) < len(checkpoint.state):
        new = [names.get(name, name) for name in checkpoint.state]
        twice = next(name for name in new if new.count(name) > 1)
        raise MismatchError(f"{checkpoint.source}: the mapping gives the name {twice!r} to two tensors.")
    ties = [[names.get(name, name) for name in group] for group in checkpoint.metadata.get("ties", ())]
    return replace(checkpoint, state=state, metadata={**checkpoint.metadata, "ties": ties})


def read_names(path: str | os.PathLike[str], *checkpoints: Checkpoint) -> dict[str, str]:
    """Read a mapping of names: a TOML file of lines ``"name in the file" = "name in the network"``.

    Parameters
    ----------
    path : path-like
        The TOML file.
    *checkpoints : Checkpoint
        Those it is for: a name that none of them has is a mistake.

    Raises
    ------
    UsageError
        If the file is no such mapping, or knows a name that no checkpoint has.
    """
    try:
        names = tomllib.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--map {path} cannot be read as TOML: {error}") from error
    for old, new in names.items():
        if not isinstance(new, str):
            raise UsageError(
                f'--map {path}: {old} is no pair of names. Write lines such as "conv.weight" = "conv1.weight"'
            )
        known = [name for checkpoint in checkpoints for name in checkpoint.state]
        if old not in known:
            raise UsageError(f"--map {path}: no checkpoint has a tensor {old!r}.{did_you_mean(old, known)}")
    return names


def load_pair(
    a: str | os.PathLike[str] | Checkpoint,
    b: str | os.PathLike[str] | Checkpoint,
    *,
    model: str | None = None,
    entry: str | None = None,
    mapping: str | os.PathLike[str] | None = None,
    widths_may_differ: bool = False,
    **sizes: Any,
) -> Pair:
    """Load two checkpoints of one network, recognised by the one or the other.

    Parameters
    ----------
    a, b : path-like or Checkpoint
        The files, or what was loaded of them.
    model, entry : str, optional
        As in :func:`load_model`.
    mapping : path-like, optional
        TOML file from names of the files to names of the network, see :func:`read_names`.
    widths_may_differ : bool
        Whether B may have the same tensors in other shapes; that these are other widths only, :meth:`Pair.check_widths`
        says once the symmetries are known.
    **sizes
        ``input_shape`` and ``num_classes`` of the data.

    Raises
    ------
    MismatchError
        If B is not of A's network: every name or shape that differs is listed.
    """
    files = [one if isinstance(one, Checkpoint) else load(one, entry=entry) for one in (a, b)]
    for one in files:
        check_usable(one)
    names = {} if mapping is None else read_names(mapping, *files)
    given = [rename(one, names) for one in files]
    if widths_may_differ and _same_names(*given):
        first, second = (
            fitted(one, named, resolve(model, named, **sizes)) for one, named in zip(files, given, strict=True)
        )
        if set(first.state) == set(second.state):
            return Pair(first, second)
    _check_same_shapes(given[0], given[1])
    try:
        architecture = resolve(model, given[0], **sizes)
    except ArchitectureError:
        if model is not None or not _alike(*given):
            raise
        architecture = _resolve_other(given[1], sizes)
    first, second = (fitted(one, named, architecture) for one, named in zip(files, given, strict=True))
    return Pair(first, second)


def _resolve_other(b: Checkpoint, sizes: Mapping[str, Any]) -> Architecture:
    """Find the network of B, for an A that has its shapes under names that nobody knows."""
    found = resolve(None, b, **sizes)
    return replace(found, assumptions=(*found.assumptions, "the network is that of B, whose shapes A has"))


def _alike(a: Checkpoint, b: Checkpoint) -> bool:
    return match_names(a.state, b.state) is not None


def _same_names(a: Checkpoint, b: Checkpoint) -> bool:
    """Say whether two checkpoints have tensors of the same names, in shapes that are not all the same."""
    if set(a.state) != set(b.state):
        return False
    return any(tensor.shape != b.state[name].shape for name, tensor in a.state.items())


_FIX = (
    "No line runs between networks of unequal width as they are (none), nor after a permutation: transport B (lmc "
    "align or lmc barrier with --align ot alone), or fuse them (lmc fuse)."
)


def _check_same_shapes(a: Checkpoint, b: Checkpoint, fix: str = _FIX) -> None:
    both = [name for name in a.state if name in b.state]
    unequal = [name for name in both if a.state[name].shape != b.state[name].shape]
    if unequal:
        lines = [f"  {name}: A {tuple(a.state[name].shape)}, B {tuple(b.state[name].shape)}" for name in unequal[:4]]
        more = [f"  and {len(unequal) - 4} more"] if len(unequal) > 4 else []
        raise MismatchError(
            "\n".join([f"{a.source} (A) and {b.source} (B) are networks of different shape:", *lines, *more])
            + f"\n{fix}"
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
